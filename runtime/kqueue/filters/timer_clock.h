// timer_clock: the clock of one kqueue, for EVFILT_TIMER and for the time-outs of its calls.
//
// Mach's absolute time, which stands still while the machine sleeps, is CLOCK_MONOTONIC here.
// Mach's continuous time is CLOCK_BOOTTIME. Both count nanoseconds. use_clock() of extension.h
// replaces both.
//
// Threads: any may read it. It is not replaced while a thread waits in the kqueue.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/extension.h"

namespace kedge::kqueue {

class timer_clock {
 public:
  // Null: the system's clocks.
  void replace(kedge_kqueue_clock* clock, void* argument) noexcept {
    argument_.store(argument, std::memory_order_relaxed);
    clock_.store(clock, std::memory_order_release);
  }
  bool is_replaced() const noexcept { return clock_.load(std::memory_order_relaxed) != nullptr; }

  // Returns the nanoseconds of `clock`, or of the clock that replaces it.
  std::uint64_t now(clockid_t clock) const noexcept;

 private:
  std::atomic<kedge_kqueue_clock*> clock_{nullptr};
  std::atomic<void*> argument_{nullptr};
};

}  // namespace kedge::kqueue
