// The clock that stops while the machine sleeps. Its unit here is one nanosecond:
// mach_timebase_info gives 1/1.
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
#pragma GCC diagnostic ignored "-Wshadow"  // the function and the struct share a name, as on Darwin
kern_return_t mach_timebase_info(mach_timebase_info_t info);
#pragma GCC diagnostic pop
uint64_t mach_absolute_time(void);

#ifdef __cplusplus
}
#endif
