// notifier: the protocol of sd_notify(3) and sd_watchdog_enabled(3).
#include "kedge/net/notifier.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <system_error>
#include <utility>

#include "kedge/net/address.h"
#include "kedge/net/unix_datagram_socket.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/mutex.h"

namespace kedge::net {

struct notifier::manager {
  explicit manager(reactor& r) : socket(r) {}
  unix_datagram_socket socket;
  mutex order;
};

namespace {

// Returns half of the period of the watchdog, if it is for this process.
std::optional<clock::duration> half_period(const std::optional<std::string>& period,
                                           const std::optional<std::string>& pid) {
  if (!period) return std::nullopt;
  const unsigned long long limit = number_of_variable("WATCHDOG_USEC", *period);
  if (limit == 0) throw environment_error("WATCHDOG_USEC is 0");
  if (pid &&
      number_of_variable("WATCHDOG_PID", *pid) != static_cast<unsigned long long>(::getpid())) {
    return std::nullopt;
  }
  constexpr unsigned long long most =
      std::chrono::microseconds(std::chrono::hours(24 * 365)).count();
  const auto half = std::chrono::nanoseconds(std::chrono::microseconds(std::min(limit, most))) / 2;
  return std::chrono::duration_cast<clock::duration>(half);
}

}  // namespace

notifier notifier::from_environment(reactor& r) {
  const auto at = take_variable("NOTIFY_SOCKET");
  const auto period = take_variable("WATCHDOG_USEC");
  const auto pid = take_variable("WATCHDOG_PID");
  notifier made;
  made.watchdog_ = half_period(period, pid);
  if (!at) return made;
  const auto refuse = [&](const std::string& why) {
    throw environment_error("NOTIFY_SOCKET is \"" + *at + "\": " + why);
  };
  if (!at->starts_with('/') && !at->starts_with('@')) {
    refuse("this is neither an absolute path nor an abstract name");
  }
  const result<address> to = address::unix_path(*at);
  if (!to) refuse(to.error().message());
  made.manager_ = std::make_shared<manager>(r);
  const result<void> connected = made.manager_->socket.connect(*to);
  if (!connected) refuse(connected.error().message());
  return made;
}

task<result<void>> notifier::send_in_turn(std::shared_ptr<manager> to, std::string assignments) {
  if (to == nullptr) co_return result<void>();
  const auto turn = (co_await to->order.lock()).value();
  co_return co_await to->socket.send(std::as_bytes(std::span(assignments)));
}

}  // namespace kedge::net
