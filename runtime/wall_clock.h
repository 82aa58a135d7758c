// sleep_until(t) for a time of the wall clock: waits until the clock on the wall shows t.
//
//     co_await kedge::sleep_until(kedge::loop::current()->wall_now() + 24h);
//
// It follows the wall clock: when the clock is set forward past t, the sleep ends; when it is set
// back, the sleep lasts longer. It never ends before the clock shows t. The times of sleep.h are of
// another clock, which never steps and stands still while the machine sleeps: their types keep the
// two apart.
//
// Cost: no kernel tells of a step in a portable way (EVFILT_TIMER ignores it), so the sleep looks
// at the clock at least every 2^30 ns (1.07 s). A step, and the end of the machine's sleep, are
// noticed after that time at the latest. All such sleeps of a loop look at the same moments, so
// they cost one wake-up of the process a second together. Where this is too much, sleep for a
// duration.
//
// Time is the system's, or that of the loop's time_source: ask the loop (wall_now()) for it, and
// not the system. A virtual_time's wall clock begins in the year 2000, so that a sleep until the
// system's today would look 800 million times. Awaiting it throws std::bad_alloc. Cancellation
// loses nothing. Threads: the loop's thread only.
#pragma once

#include <chrono>
#include <exception>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/timer.h"

namespace kedge {

class reactor;

class wall_sleep_operation final : private timer {
 public:
  // `deadline` is the time since the epoch of std::chrono::system_clock.
  explicit wall_sleep_operation(clock::duration deadline) noexcept : deadline_(deadline) {}
  wall_sleep_operation(const wall_sleep_operation&) = delete;
  wall_sleep_operation& operator=(const wall_sleep_operation&) = delete;
  ~wall_sleep_operation() = default;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w);
  bool await_cancel(cancel_cause) noexcept {
    disarm();
    return true;
  }
  std::exception_ptr await_failure() const noexcept { return failure_; }
  void await_resume() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }
  void describe(description& line) const noexcept;

 private:
  reactor& in_reactor() const noexcept;
  clock::duration left() const noexcept;
  void arm_next(clock::duration left);
  void expire() noexcept override;

  clock::duration deadline_;
  waiter* waiter_ = nullptr;
  std::exception_ptr failure_;  // no memory for the next look
};

class [[nodiscard]] wall_sleep_awaitable {
 public:
  explicit wall_sleep_awaitable(clock::duration deadline) noexcept : deadline_(deadline) {}
  wall_sleep_operation operator co_await() && noexcept { return wall_sleep_operation(deadline_); }

 private:
  clock::duration deadline_;
};

// A time that has passed is like a sleep_for of zero. A time beyond the range of nanoseconds is its
// end. Throws std::invalid_argument if `t` is not a number.
template <class Duration>
[[nodiscard]] wall_sleep_awaitable sleep_until(
    std::chrono::time_point<std::chrono::system_clock, Duration> t) {
  return wall_sleep_awaitable(saturate(t.time_since_epoch()));
}

}  // namespace kedge
