// Implements service: look-ups, tries and the time between them.
#include "kedge/mach/service.h"

#include <algorithm>
#include <optional>

#include "kedge/mach/call.h"
#include "kedge/mach/error.h"
#include "kedge/mach/send.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge::mach {

struct service::state {
  std::string name;  // whole
  service_options options;
  send_right right;  // empty: the name is looked up next
};

service::service(const service_names& within, std::string_view name, service_options options)
    : state_(std::make_shared<state>(state{within.whole(name), options, {}})) {}

service_error service::failure(const state& s, std::error_code code, bool is_sent) {
  return service_error(code, is_sent, "service " + s.name + ": " + code.message());
}

// The tries of one call.
class service::attempts {
 public:
  explicit attempts(state& s) noexcept
      : state_(s), end_(clock::sum(loop::current()->now(), s.options.deadline)) {}

  clock::time_point end() const noexcept { return end_; }

  // Finds the right that the next try uses. Returns the error if no try could find another one.
  std::error_code look_up() {
    if (state_.right) return {};
    auto found = mach::look_up(state_.name);
    if (found) {
      state_.right = std::move(*found);
      return {};
    }
    last_ = found.error().code();
    return last_;
  }
  const send_right& right() const noexcept { return state_.right; }

  // Returns whether a request that was not sent because of `error` is tried again.
  bool may_repeat(std::error_code error) noexcept {
    last_ = error;
    if (error == errc::peer_died) {
      // Another call may have found a newer port.
      if (state_.right && state_.right.dead()) state_.right = send_right();
      return true;
    }
    return error == errc::unknown_service;
  }
  // Waits before the next try. Gives false if the deadline comes first.
  task<bool> pause() {
    // A port that has just died may have a successor already.
    if (last_ == errc::peer_died && !std::exchange(has_looked_again_, true)) co_return true;
    const clock::duration left = end_ - loop::current()->now();
    co_await sleep_for(std::min<clock::duration>(left, pause_));
    pause_ = std::min(2 * pause_, longest);
    co_return loop::current()->now() < end_;
  }

 private:
  static constexpr clock::duration longest = std::chrono::seconds(1);
  state& state_;
  const clock::time_point end_;
  clock::duration pause_ = std::chrono::milliseconds(10);
  bool has_looked_again_ = false;
  std::error_code last_;
};

task<result<received, service_error>> service::call_message(shared_state s, message request,
                                                            std::size_t max) {
  attempts tries(*s);
  for (;;) {
    std::error_code error = tries.look_up();
    if (!error) {
      auto reply = co_await with_deadline(
          tries.end(), mach::call(tries.right(), std::move(request)).at_most(max));
      if (reply) co_return *std::move(reply);
      error = reply.error().code();
      request = std::move(reply.error()).message();
      // A request that was sent, or lost, is not here any more.
      if (!request) co_return unexpected(failure(*s, error, error != errc::rights_lost));
    }
    if (!tries.may_repeat(error)) co_return unexpected(failure(*s, error, false));
    const bool goes_on = co_await tries.pause();
    if (!goes_on) co_return unexpected(failure(*s, error, false));
  }
}

task<result<void, service_error>> service::send_message(shared_state s, message request) {
  attempts tries(*s);
  for (;;) {
    std::error_code error = tries.look_up();
    if (!error) {
      auto sent =
          co_await with_deadline(tries.end(), mach::send(tries.right(), std::move(request)));
      if (sent) co_return {};
      error = sent.error().code();
      request = std::move(sent.error()).message();
      if (!request) co_return unexpected(failure(*s, error, error != errc::rights_lost));
    }
    if (!tries.may_repeat(error)) co_return unexpected(failure(*s, error, false));
    const bool goes_on = co_await tries.pause();
    if (!goes_on) co_return unexpected(failure(*s, error, false));
  }
}

}  // namespace kedge::mach
