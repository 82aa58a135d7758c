// sleep_for, sleep_until: wait for time to pass.
//
//     co_await kedge::sleep_for(std::chrono::milliseconds(100));
//     co_await kedge::sleep_for(1.5s);
//
// With a slack the sleep may end later by up to the slack, so that many of them share one wake-up
// of the process:
//
//     co_await kedge::sleep_for(30s, 1s);
//
// Time is the loop's: that of kedge::clock, which stands still while the machine sleeps, or that of
// the loop's time_source. Sleeps with the same deadline end in the order in which they began.
// Awaiting one throws std::bad_alloc. Cancellation loses nothing. A time of the wall clock is
// waited for by the sleep_until() of wall_clock.h.
#pragma once

#include <type_traits>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

struct coarse_duration {
  clock::duration duration;
  clock::duration slack;
};

// `Time` is a clock::duration or a coarse_duration from the beginning of the wait, or a
// clock::time_point.
template <class Time>
class sleep_operation final : private timer {
  static constexpr bool is_relative = std::is_same_v<Time, clock::duration>;
  static constexpr bool is_coarse = std::is_same_v<Time, coarse_duration>;

 public:
  explicit sleep_operation(Time t) noexcept : time_(t) {}
  sleep_operation(const sleep_operation&) = delete;
  sleep_operation& operator=(const sleep_operation&) = delete;
  ~sleep_operation() = default;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    waiter_ = &w;
    reactor& r = w.owner_context().in_reactor();
    if constexpr (is_relative) time_ = clock::sum(r.now(), time_).time_since_epoch();
    if constexpr (is_coarse) {
      const clock::time_point exact = clock::sum(r.now(), time_.duration);
      time_.duration = clock::round_up(exact, time_.slack).time_since_epoch();
    }
    r.timers().arm(*this, deadline());
    return true;
  }
  bool await_ended() const noexcept { return !armed(); }
  bool await_cancel(cancel_cause) noexcept {
    disarm();
    return true;
  }
  void await_resume() const noexcept {}
  void describe(description& line) const noexcept {
    if (waiter_ == nullptr) {
      line.print("its turn to sleep");
      return;
    }
    const clock::duration left =
        clock::between(waiter_->owner_context().in_reactor().now(), deadline());
    line.print("%.3f s to pass", std::chrono::duration<double>(left).count());
  }

 private:
  void expire() noexcept override { wake(*waiter_); }
  clock::time_point deadline() const noexcept {
    if constexpr (is_coarse) {
      return clock::time_point(time_.duration);
    } else {
      return clock::time_point(time_);
    }
  }

  Time time_;  // once the wait has begun, a duration is that from the epoch to the deadline
  waiter* waiter_ = nullptr;
};

template <class Time>
class [[nodiscard]] sleep_awaitable {
 public:
  explicit sleep_awaitable(Time t) noexcept : time_(t) {}
  sleep_operation<Time> operator co_await() && noexcept { return sleep_operation<Time>(time_); }

 private:
  Time time_;
};

// Waits until `d` has passed since the co_await. If `d` is not positive, the sleep ends at once,
// but after the tasks that are ready. A `d` beyond the end of time waits for ever. Throws
// std::invalid_argument if `d` is not a number.
template <class Rep, class Period>
[[nodiscard]] sleep_awaitable<clock::duration> sleep_for(
    std::chrono::duration<Rep, Period> d) noexcept(noexcept(saturate(d))) {
  return sleep_awaitable<clock::duration>(saturate(d));
}

// Waits until `deadline`. A deadline that has passed is like a sleep_for of zero.
[[nodiscard]] inline sleep_awaitable<clock::time_point> sleep_until(
    clock::time_point deadline) noexcept {
  return sleep_awaitable<clock::time_point>(deadline);
}

// The same, but the deadline is rounded up by clock::round_up(): it is later by less than `slack`.
template <class Rep, class Period, class SlackRep, class SlackPeriod>
[[nodiscard]] sleep_awaitable<coarse_duration> sleep_for(
    std::chrono::duration<Rep, Period> d, std::chrono::duration<SlackRep, SlackPeriod> slack) {
  return sleep_awaitable<coarse_duration>({saturate(d), saturate(slack)});
}
template <class Rep, class Period>
[[nodiscard]] sleep_awaitable<clock::time_point> sleep_until(
    clock::time_point deadline, std::chrono::duration<Rep, Period> slack) {
  return sleep_awaitable<clock::time_point>(clock::round_up(deadline, saturate(slack)));
}

}  // namespace kedge
