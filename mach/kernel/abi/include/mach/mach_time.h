// <mach/mach_time.h>: the absolute clock, which stops while the machine sleeps, and the continuous
// clock, which does not. Their unit here is one nanosecond: mach_timebase_info gives 1/1.
#pragma once

#include <stdint.h>

#include <mach/kern_return.h>

struct mach_timebase_info {
  uint32_t numer;
  uint32_t denom;
};
typedef struct mach_timebase_info* mach_timebase_info_t;
typedef struct mach_timebase_info mach_timebase_info_data_t;

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC diagnostic push
// The function and the struct share a name, as on Darwin.
#pragma GCC diagnostic ignored "-Wshadow"
kern_return_t mach_timebase_info(mach_timebase_info_t info);
#pragma GCC diagnostic pop
uint64_t mach_absolute_time(void);
uint64_t mach_continuous_time(void);
// Cheaper than the exact clocks, and some milliseconds behind them at most.
uint64_t mach_approximate_time(void);
uint64_t mach_continuous_approximate_time(void);

// Sleeps until the absolute time `deadline`. KERN_ABORTED: a signal handler ran before.
kern_return_t mach_wait_until(uint64_t deadline);

#ifdef __cplusplus
}
#endif
