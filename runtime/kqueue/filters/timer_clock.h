// The clocks of EVFILT_TIMER: Mach's absolute time, which stands while the machine sleeps, is
// CLOCK_MONOTONIC here, its continuous time CLOCK_BOOTTIME, both in nanoseconds. use_clock() of
// extension.h replaces both.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/extension.h"

namespace kedge::kqueue {

inline constinit std::atomic<clock_function> clock_of_timers{nullptr};  // null: the system's

inline bool clock_is_virtual() noexcept {
  return clock_of_timers.load(std::memory_order_relaxed) != nullptr;
}

// Nanoseconds of the system's clock, or of the one that replaces it.
std::uint64_t timer_now(clockid_t clock) noexcept;

}  // namespace kedge::kqueue
