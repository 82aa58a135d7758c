// <mach/mach_time_private.h>: several clocks, read together.
#pragma once

#include <stdint.h>

#include <mach/kern_return.h>

struct timespec;

#ifdef __cplusplus
extern "C" {
#endif

// Reads the absolute clock, the continuous clock and the time of day. Any pointer may be null.
kern_return_t mach_get_times(uint64_t* absolute_time, uint64_t* continuous_time,
                             struct timespec* tp);

#ifdef __cplusplus
}
#endif
