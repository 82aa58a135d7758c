// deadline: how long a kevent() call may sleep, from its time-out argument. If use_clock() has
// replaced the clock of the kqueue, the time-out is measured by that clock. The call then sleeps
// until clock_moved() wakes it, because the host has no timer for the clock.
#pragma once

#include <time.h>

#include <cstdint>

#include "kedge/runtime/kqueue/filters/timer_clock.h"

namespace kedge::kqueue {

class deadline {
 public:
  // Never, until it is set.
  deadline() noexcept {}
  void set_now() noexcept { kind_ = kind::now; }
  void set(const timespec& timeout) noexcept;

  // Measures the time-out by the replaced clock of a kqueue. To be called before remaining(). Has
  // no effect the second time.
  void follow(const timer_clock& clock) noexcept;

  bool is_now() const noexcept { return kind_ == kind::now; }

  // Returns whether no time is left by the replaced clock. Requires follow(). The deadline becomes
  // `now` then.
  bool is_over() noexcept {
    remaining();
    return is_now();
  }

  // Returns when the time is over, in nanoseconds of the clock; the largest value: never.
  std::uint64_t ends_at() const noexcept {
    return kind_ == kind::never ? UINT64_MAX : kind_ == kind::now ? 0 : ends_at_;
  }

  // Returns the time left, as epoll_pwait2() takes it: null for ever. The result is valid until the
  // next call. When no time is left, the deadline becomes `now`. By a replaced clock the result is
  // null as long as time is left.
  const timespec* remaining() noexcept { return kind_ == kind::never ? nullptr : count_down(); }

 private:
  enum class kind : std::uint8_t { never, now, later };

  const timespec* count_down() noexcept;

  kind kind_ = kind::never;
  // Set if the kind is `later`.
  bool fresh_;  // remaining_ is the whole time-out: the call has not slept yet
  timespec remaining_;
  std::uint64_t ends_at_;     // ns of CLOCK_MONOTONIC, or of clock_
  const timer_clock* clock_;  // null: that of the system
};

}  // namespace kedge::kqueue
