// Implements <mach/mach_time.h> with clock_gettime() and clock_nanosleep().
#include <mach/mach_time.h>
#include <mach/mach_time_private.h>

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr uint64_t nanoseconds_per_second = 1000000000;

uint64_t read(clockid_t clock) {
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
  const timespec until{static_cast<time_t>(deadline / nanoseconds_per_second),
                       static_cast<long>(deadline % nanoseconds_per_second)};
  // A bare system call: the C library's clock_nanosleep() is a cancellation point.
  const long slept = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
  return slept == 0 ? KERN_SUCCESS : KERN_ABORTED;
}

}  // extern "C"
