// timer_clock: the clocks of EVFILT_TIMER. Mach's absolute time, which stands still while the
// machine sleeps, is CLOCK_MONOTONIC here. Mach's continuous time is CLOCK_BOOTTIME. Both count
// nanoseconds. use_clock() of extension.h replaces both.
//
// Threads: any.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/extension.h"

namespace kedge::kqueue {

inline constinit std::atomic<clock_function> replaced_clock{nullptr};  // null: the system's

inline bool clock_is_virtual() noexcept {
  return replaced_clock.load(std::memory_order_relaxed) != nullptr;
}

// Returns the nanoseconds of `clock`, or of the clock that replaces it.
std::uint64_t timer_now(clockid_t clock) noexcept;

}  // namespace kedge::kqueue
