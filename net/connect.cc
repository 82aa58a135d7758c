// connect(): one attempt, and several side by side.
#include "kedge/net/connect.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <iterator>
#include <optional>

#include "kedge/net/errc.h"
#include "kedge/net/host.h"
#include "kedge/net/resolve.h"
#include "kedge/net/socket_call.h"
#include "kedge/runtime/auto_reset_event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge::net {
namespace {

using std::chrono::milliseconds;

template <class Stream>
using connection = result<Stream, connect_error>;

// Makes a socket for a connection to `to`.
template <class Stream>
result<Stream> make_stream(const address& to) {
  owned_fd socket(host::make_socket(to.family(), SOCK_STREAM));
  if (!socket) return failed_call("socket", -1);
  Stream s(*loop::current(), std::move(socket));
  if constexpr (requires { s.set_no_delay(true); }) (void)s.set_no_delay(true);
  return s;
}

// A port of this host's for outgoing connections may be the one that is connected to, and TCP then
// connects the socket with itself.
bool is_connected_to_itself(const tcp_stream& s) {
  const auto here = s.local_address();
  const auto there = s.peer_address();
  return here && there && *here == *there;
}

clock::time_point deadline_of(const connect_options& options) {
  return clock::sum(loop::current()->now(), options.timeout);
}

// Several attempts, of which one wins.
struct race {
  explicit race(std::vector<address>&& all) : addresses(std::move(all)) {
    attempts.reserve(addresses.size());
  }

  bool is_over() const noexcept { return winner || ended == addresses.size(); }
  std::error_code first_error() const noexcept {
    for (const connect_error::attempt& each : attempts) {
      if (each.why) return each.why;
    }
    return errc::no_address;
  }

  std::vector<address> addresses;
  std::vector<connect_error::attempt> attempts;
  std::size_t ended = 0;
  std::optional<tcp_stream> winner;
  auto_reset_event changed;
};

task<> attempt_one(race& r, std::size_t i) {
  std::error_code why;
  if (auto made = make_stream<tcp_stream>(r.addresses[i])) {
    tcp_stream s = std::move(*made);
    const result<void> done = co_await s.connect_to(r.addresses[i]);
    if (!done) {
      why = done.error();
    } else if (is_connected_to_itself(s)) {
      why = std::make_error_code(std::errc::connection_refused);
    } else if (!r.winner) {
      r.winner = std::move(s);
    }
  } else {
    why = made.error();
  }
  r.attempts[i].why = why;
  ++r.ended;
  r.changed.set();
}

// Orders the addresses so that families take turns; the first stays the first.
void take_turns(std::vector<address>& all) {
  if (all.empty()) return;
  const int first = all.front().family();
  std::vector<address> ones;
  std::vector<address> others;
  std::partition_copy(all.begin(), all.end(), std::back_inserter(ones), std::back_inserter(others),
                      [&](const address& a) { return a.family() == first; });
  all.clear();
  for (std::size_t i = 0; i < ones.size() || i < others.size(); ++i) {
    if (i < ones.size()) all.push_back(ones[i]);
    if (i < others.size()) all.push_back(others[i]);
  }
}

task<connection<tcp_stream>> connect_first(std::vector<address> all, std::string name,
                                           clock::time_point deadline, connect_options options) {
  const auto is_foreign = [](const address& a) { return !a.is_internet(); };
  if (std::any_of(all.begin(), all.end(), is_foreign)) {
    co_return unexpected(connect_error(errc::not_an_internet_address));
  }
  take_turns(all);
  race r(std::move(all));
  const auto body = [&](scope& s) -> task<> {
    for (std::size_t i = 0; i < r.addresses.size() && !r.winner; ++i) {
      r.attempts.push_back({r.addresses[i], {}});
      s.spawn(attempt_one, std::ref(r), i);
      if (i + 1 == r.addresses.size()) break;
      (void)co_await when_any(r.changed.wait(), sleep_for(options.stagger));
    }
    while (!r.is_over()) (void)co_await r.changed.wait();
    s.cancel();
  };
  const result<void> in_time = co_await with_deadline(deadline, with_scope(body));
  if (r.winner) co_return std::move(*r.winner);
  for (connect_error::attempt& each : r.attempts) {
    if (!each.why) each.why = kedge::errc::timed_out;
  }
  const std::error_code why = in_time ? r.first_error() : in_time.error();
  co_return unexpected(connect_error(why, std::move(name), std::move(r.attempts)));
}

template <class Service>
task<connection<tcp_stream>> connect_by_name(std::string host, Service service, std::string name,
                                             connect_options options) {
  const clock::time_point deadline = deadline_of(options);
  auto found = co_await with_deadline(deadline, resolve(std::move(host), std::move(service)));
  if (!found) {
    co_return unexpected(connect_error(found.error(), std::move(name), {}));
  }
  auto made = co_await connect_first(std::move(*found), std::move(name), deadline, options);
  co_return made;
}

}  // namespace

std::string connect_error::text() const {
  std::string text = name_;
  if (attempts_.empty()) {
    if (!text.empty()) text += ": ";
    return text + code_.message();
  }
  if (attempts_.size() == 1 && attempts_.front().to.text() == text) text.clear();
  const char* between = text.empty() ? "" : ": ";
  for (const attempt& each : attempts_) {
    text += between + each.to.text() + ": " + each.why.message();
    between = "; ";
  }
  return text;
}

task<connection<tcp_stream>> connect(std::string host, std::uint16_t port,
                                     connect_options options) {
  std::string name = host + ":" + std::to_string(port);
  return connect_by_name(std::move(host), port, std::move(name), options);
}

task<connection<tcp_stream>> connect(std::string host, std::string service,
                                     connect_options options) {
  std::string name = host + ":" + service;
  return connect_by_name(std::move(host), std::move(service), std::move(name), options);
}

task<connection<tcp_stream>> connect(std::vector<address> addresses, connect_options options) {
  const clock::time_point deadline = deadline_of(options);
  auto made = co_await connect_first(std::move(addresses), std::string(), deadline, options);
  co_return made;
}

task<connection<tcp_stream>> connect(address to, connect_options options) {
  return connect(std::vector<address>{to}, options);
}

task<connection<unix_stream>> connect_unix(address to) {
  if (!to.is_unix()) co_return unexpected(connect_error(errc::not_a_unix_address));
  const auto fail = [&](std::error_code why) {
    return unexpected(connect_error(why, std::string(), {{to, why}}));
  };
  for (auto pause = milliseconds(1);; pause = std::min(2 * pause, milliseconds(100))) {
    auto made = make_stream<unix_stream>(to);
    if (!made) co_return fail(made.error());
    const result<void> done = co_await made->connect_to(to);
    if (done) co_return std::move(*made);
    if (done.error() != std::errc::resource_unavailable_try_again) co_return fail(done.error());
    made->close();
    co_await sleep_for(pause);
  }
}

}  // namespace kedge::net
