// <mach/clock.h>: calls on the clocks of host_get_clock_service.
#pragma once

#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/message.h>

#ifdef __cplusplus
extern "C" {
#endif

// MACH_SEND_INVALID_DEST: not a send right. KERN_INVALID_ARGUMENT: not a clock's.
kern_return_t clock_get_time(clock_serv_t clock_serv, mach_timespec_t* cur_time);
// Gives a resolution in nanoseconds (CLOCK_GET_TIME_RES, CLOCK_ALARM_*). KERN_INVALID_VALUE: another
// flavor. KERN_FAILURE: *clock_attrCnt is not 1.
kern_return_t clock_get_attributes(clock_serv_t clock_serv, clock_flavor_t flavor,
                                   clock_attr_t clock_attr, mach_msg_type_number_t* clock_attrCnt);

#ifdef __cplusplus
}
#endif
