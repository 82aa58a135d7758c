// clock: the clock of time-outs. CLOCK_MONOTONIC, unless use_clock() (extension.h) has replaced it.
//
// Only calls that wait with a time-out by a replaced clock are listed, so that clock_moved() finds
// them. All others cost one load.
//
// Threads: any, within the limits that extension.h names.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/embedded/futex_call.h"
#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

bool is_clock_replaced() noexcept;

// Nanoseconds of the clock in use.
std::uint64_t clock_now() noexcept;

// The time of the clock in use after so many nanoseconds. futex_call::never, if the clock cannot
// reach it.
std::uint64_t deadline_after(std::uint64_t nanoseconds) noexcept;

// For its scope clock_moved() makes the waiting call read the clock.
class clocked_wait {
 public:
  // Has no effect if the call waits without a time-out, or by the real clock.
  clocked_wait(futex_call& waiting, std::uint64_t deadline) noexcept;
  ~clocked_wait();
  clocked_wait(const clocked_wait&) = delete;
  clocked_wait& operator=(const clocked_wait&) = delete;

  bool is_listed() const noexcept { return listed_; }
  futex_call& waiting() const noexcept { return waiting_; }

  base::list_link<clocked_wait> link;

 private:
  futex_call& waiting_;
  const bool listed_;
};

// In a fork's child: forgets the calls of its parent's other threads. The clock stays.
void forget_clocked_waits() noexcept;

}  // namespace kedge::mach::kernel
