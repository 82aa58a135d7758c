// kedge::clock: awake time, in nanoseconds since some moment of this boot.
//
// It does not advance while the machine sleeps, and never steps: CLOCK_UPTIME_RAW on Darwin,
// CLOCK_MONOTONIC elsewhere. std::chrono::steady_clock does not promise the former (on Darwin it
// counts sleep). Any thread.
#pragma once

#include <chrono>
#include <ctime>

namespace kedge {

struct clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<clock>;
  static constexpr bool is_steady = true;

  static time_point now() noexcept {
    timespec t{};
#ifdef CLOCK_UPTIME_RAW
    clock_gettime(CLOCK_UPTIME_RAW, &t);
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return time_point(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
  }

  // Returns now() + d, or the end of time if that would overflow.
  static time_point after(duration d) noexcept {
    const time_point start = now();
    return d > time_point::max() - start ? time_point::max() : start + d;
  }

  // Returns the time left until t, or zero if t has passed.
  static duration until(time_point t) noexcept {
    const time_point start = now();
    return t > start ? t - start : duration::zero();
  }
};

}  // namespace kedge
