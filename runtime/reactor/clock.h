// kedge::clock: awake time, in nanoseconds since some moment of this boot. saturate(): a duration
// of any type in nanoseconds.
//
// It does not advance while the machine sleeps, and never steps: CLOCK_UPTIME_RAW on Darwin,
// CLOCK_MONOTONIC elsewhere. std::chrono::steady_clock does not promise the former (on Darwin it
// counts sleep). Any thread.
#pragma once

#include <bit>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <ctime>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>

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

  // Returns start + d, or the end or the beginning of time if that would overflow.
  static constexpr time_point sum(time_point start, duration d) noexcept {
    if (d > duration::zero() && start > time_point::max() - d) return time_point::max();
    if (d < duration::zero() && start < time_point::min() - d) return time_point::min();
    return start + d;
  }

  // Returns the next time that is not before t and is a multiple of a power of two of nanoseconds,
  // the largest one that is not longer than `slack`. So it is later by less than `slack`, and times
  // that are close to each other become the same one. Returns t for a `slack` that is not positive.
  static constexpr time_point round_up(time_point t, duration slack) noexcept {
    if (slack <= duration::zero()) return t;
    const auto unit = static_cast<rep>(std::bit_floor(static_cast<std::uint64_t>(slack.count())));
    const rep up = sum(t, duration(unit - 1)).time_since_epoch().count();
    return up == duration::max().count() ? time_point::max() : time_point(duration(up & -unit));
  }

  // Returns now() + d, saturating as saturate() and sum(). Throws std::invalid_argument for NaN.
  template <class Rep, class Period>
  static time_point after(std::chrono::duration<Rep, Period> d);

  // Returns the time left until t, or zero if t has passed.
  static duration until(time_point t) noexcept { return between(now(), t); }
  // Returns the time from `start` to t, or zero if t is not after `start`.
  static constexpr duration between(time_point start, time_point t) noexcept {
    if (t <= start) return duration::zero();
    if (start < time_point{} && t > time_point::max() + start.time_since_epoch()) {
      return duration::max();
    }
    return t - start;
  }
};

namespace detail {

// `count` periods of `Period` in nanoseconds, rounded up.
template <class Period, std::integral Rep>
constexpr clock::duration saturated(Rep count) noexcept {
  using ratio = std::ratio_divide<Period, std::nano>;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  static_assert(ratio::num <= most / ratio::den, "kedge: a duration of this period is unusable");
  if (std::cmp_greater(count, most)) return clock::duration::max();
  const auto n = static_cast<std::int64_t>(count);
  const std::int64_t whole = n / ratio::den;
  const std::int64_t rest = n % ratio::den * ratio::num;  // of ratio::den; has the sign of n
  const std::int64_t rounded = rest / ratio::den + (rest % ratio::den > 0 ? 1 : 0);
  // `rounded` has the sign of `whole`, unless one of them is 0.
  if (rounded >= 0 && whole > (most - rounded) / ratio::num) return clock::duration::max();
  if (rounded <= 0 && whole < (-most - rounded) / ratio::num) return clock::duration::min();
  return clock::duration(whole * ratio::num + rounded);
}

template <class Period, std::floating_point Rep>
clock::duration saturated(Rep count) {
  using ratio = std::ratio_divide<Period, std::nano>;
  if (std::isnan(count)) throw std::invalid_argument("kedge: a duration is not a number");
  const long double ns = static_cast<long double>(count) * ratio::num / ratio::den;
  constexpr long double limit = 9223372036854775807.0L;
  if (ns >= limit) return clock::duration::max();
  if (ns <= -limit) return clock::duration::min();
  const auto cut = static_cast<std::int64_t>(ns);
  return clock::duration(static_cast<long double>(cut) < ns ? cut + 1 : cut);
}

}  // namespace detail

// Returns `d` in nanoseconds, rounded up, so that a wait is never too short. A `d` that is too long
// or too negative gives clock::duration::max() or min(), which stand for "for ever" and "at once".
// Throws std::invalid_argument for NaN; does not throw for a duration of integers.
template <class Rep, class Period>
  requires std::is_arithmetic_v<Rep>
constexpr clock::duration saturate(std::chrono::duration<Rep, Period> d) noexcept(
    std::is_integral_v<Rep>) {
  return detail::saturated<Period>(d.count());
}
constexpr clock::duration saturate(clock::duration d) noexcept {
  return d;
}

template <class Rep, class Period>
clock::time_point clock::after(std::chrono::duration<Rep, Period> d) {
  return sum(now(), saturate(d));
}

}  // namespace kedge
