// <mach/mk_timer.h>: timers. Each is a port, and when the timer expires the port receives a
// message.
#pragma once

#include <stdint.h>

#include <mach/kern_return.h>
#include <mach/mach_time.h>
#include <mach/message.h>
#include <mach/port.h>

#ifdef __cplusplus
extern "C" {
#endif

// Makes a timer and returns the name of its receive right, which the caller owns. The right cannot
// be moved. MACH_PORT_NULL: no name or no memory is left.
mach_port_name_t mk_timer_create(void);

// Each of the calls below fails with KERN_INVALID_NAME, KERN_INVALID_RIGHT (the name is not a
// receive right) or KERN_INVALID_ARGUMENT (it is not a timer's).

// Destroys the timer with all rights of the name.
kern_return_t mk_timer_destroy(mach_port_name_t name);

// Lets the timer expire once, at a time of mach_absolute_time(), instead of when it was armed for
// before. A message that has not been received yet is not doubled. KERN_RESOURCE_SHORTAGE: no
// memory, or no thread for the timers.
kern_return_t mk_timer_arm(mach_port_name_t name, uint64_t expire_time);

// Stops the timer. *result_time, if not null, becomes the time that it was armed for, or 0. A
// message that is queued already stays.
kern_return_t mk_timer_cancel(mach_port_name_t name, uint64_t* result_time);

// The same as mk_timer_arm: this kernel delays no timer, and so ignores flags and leeway.
#define MK_TIMER_NORMAL (0)
#define MK_TIMER_CRITICAL (1)
kern_return_t mk_timer_arm_leeway(mach_port_name_t name, uint64_t mk_timer_flags,
                                  uint64_t mk_timer_expire_time, uint64_t mk_timer_leeway);

// What the port receives, with msgh_id 0.
#pragma pack(push, 4)
typedef struct mk_timer_expire_msg {
  mach_msg_header_t header;
  uint64_t unused[3];
} mk_timer_expire_msg_t;
#pragma pack(pop)

#ifdef __cplusplus
}
#endif
