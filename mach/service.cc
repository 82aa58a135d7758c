// Implements service: look-ups, tries and the time between them.
#include "kedge/mach/service.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

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

// `start` makes the awaitable of one try.
template <class Value, class Start>
task<result<Value, service_error>> service::repeat(shared_state s, message request, Start start) {
  attempts tries(*s);
  for (;;) {
    std::error_code error = tries.look_up();
    if (!error) {
      auto done = co_await with_deadline(tries.end(), start(tries.right(), std::move(request)));
      if constexpr (std::is_void_v<Value>) {
        if (done) co_return {};
      } else {
        if (done) co_return *std::move(done);
      }
      error = done.error().code();
      request = std::move(done.error()).message();
      // A request that was sent, or lost, is not here any more.
      if (!request) co_return unexpected(failure(*s, error, error != errc::rights_lost));
    }
    if (!tries.may_repeat(error)) co_return unexpected(failure(*s, error, false));
    const bool goes_on = co_await tries.pause();
    if (!goes_on) co_return unexpected(failure(*s, error, false));
  }
}

task<result<received, service_error>> service::call_message(shared_state s, message request,
                                                            std::size_t max) {
  return repeat<received>(std::move(s), std::move(request),
                          [max](const send_right& to, message&& m) {
                            return mach::call(to, std::move(m)).at_most(max);
                          });
}

task<result<void, service_error>> service::send_message(shared_state s, message request) {
  return repeat<void>(std::move(s), std::move(request), [](const send_right& to, message&& m) {
    return mach::send(to, std::move(m));
  });
}

}  // namespace kedge::mach
