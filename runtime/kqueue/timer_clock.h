#pragma once

// The clock of EVFILT_TIMER, see use_clock() in extension.h.

#include <atomic>
#include <cstdint>

#include "kedge/kqueue/extension.h"

namespace kedge::kqueue {

inline constinit std::atomic<clock_function> clock_of_timers{nullptr};  // null: CLOCK_MONOTONIC

inline bool clock_is_virtual() noexcept {
  return clock_of_timers.load(std::memory_order_relaxed) != nullptr;
}

std::uint64_t timer_now() noexcept;

}  // namespace kedge::kqueue
