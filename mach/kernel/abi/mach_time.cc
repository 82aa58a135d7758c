// Implements <mach/mach_time.h> with clock_gettime(), or with the clock that the program has put in
// its place (extension.h).
#include <mach/mach_time.h>
#include <mach/mach_time_private.h>

#include <time.h>

#include "kedge/mach/kernel/core/binding.h"

namespace {

constexpr uint64_t nanoseconds_per_second = 1000000000;

uint64_t read(clockid_t clock) {
  uint64_t replaced = 0;
  if (kedge::mach::kernel::read_replaced_clock(replaced)) return replaced;
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * nanoseconds_per_second +
         static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

extern "C" {

kern_return_t mach_timebase_info(mach_timebase_info_t info) {
  if (!info) return KERN_INVALID_ARGUMENT;
  *info = {1, 1};
  return KERN_SUCCESS;
}

uint64_t mach_absolute_time(void) {
  return read(CLOCK_MONOTONIC);
}

uint64_t mach_continuous_time(void) {
  return read(CLOCK_BOOTTIME);
}

uint64_t mach_approximate_time(void) {
  return read(CLOCK_MONOTONIC_COARSE);
}

uint64_t mach_continuous_approximate_time(void) {
  return read(CLOCK_BOOTTIME);
}

kern_return_t mach_get_times(uint64_t* absolute_time, uint64_t* continuous_time,
                             struct timespec* tp) {
  if (absolute_time) *absolute_time = mach_absolute_time();
  if (continuous_time) *continuous_time = mach_continuous_time();
  if (tp) clock_gettime(CLOCK_REALTIME, tp);
  return KERN_SUCCESS;
}

kern_return_t mach_wait_until(uint64_t deadline) {
  return kedge::mach::kernel::wait_until(deadline) ? KERN_SUCCESS : KERN_ABORTED;
}

}  // extern "C"
