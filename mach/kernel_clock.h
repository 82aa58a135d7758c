// kernel_clock: gives the Mach kernel of the process the time of a time_source.
//
//     kedge::virtual_time world;
//     const kedge::mach::kernel_clock mach_time(world);
//     kedge::loop loop(world);
//
// While it lives the time-outs of mach_msg() and of semaphores, the timers of mk_timer_arm() and
// mach_absolute_time() follow the source, as its loops do. When the time moves, the messages of the
// timers that are due are queued first, in the order of their times; then the loops notice.
// The awaitables of `mach` need no kernel_clock: their time-outs are the loop's. The deadlines of
// mk_timer_arm() are unknown to a virtual_time, which jumps to those of its loops: such a timer
// expires at the first jump that reaches it.
//
// One at a time. Requires in the constructor and in the destructor that no call with a time-out is
// in progress and no timer is armed; the destructor gives the kernel its own clock back. The source
// outlives the kernel_clock. On Darwin the kernel follows no other clock.
//
// Threads: any thread makes and destroys it.
#pragma once

#include "kedge/runtime/time_source.h"

namespace kedge::mach {

class kernel_clock final : private time_follower {
 public:
  // Throws std::system_error (not_supported) if the kernel cannot follow a source,
  // std::logic_error if there is another kernel_clock, and std::bad_alloc.
  explicit kernel_clock(time_source& source);
  kernel_clock(const kernel_clock&) = delete;
  kernel_clock& operator=(const kernel_clock&) = delete;
  ~kernel_clock();

 private:
  void time_moved() noexcept override;

  time_source& source_;
};

}  // namespace kedge::mach
