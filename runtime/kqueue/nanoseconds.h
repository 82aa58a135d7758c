// nanoseconds: times as counts of nanoseconds.
#pragma once

#include <time.h>

#include <cstdint>
#include <limits>

namespace kedge::kqueue {

inline constexpr std::uint64_t second = 1'000'000'000;  // ns

// Requires that `t` is not negative.
inline std::uint64_t nanoseconds_of(const timespec& t) noexcept {
  return static_cast<std::uint64_t>(t.tv_sec) * second + static_cast<std::uint64_t>(t.tv_nsec);
}

inline timespec timespec_of(std::uint64_t nanoseconds) noexcept {
  return {static_cast<time_t>(nanoseconds / second), static_cast<long>(nanoseconds % second)};
}

inline std::uint64_t now_of(clockid_t clock) noexcept {
  timespec t{};
  clock_gettime(clock, &t);
  return nanoseconds_of(t);
}

// Returns a + b, or the greatest number if that does not fit.
inline std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t result = 0;
  return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<std::uint64_t>::max() : result;
}

}  // namespace kedge::kqueue
