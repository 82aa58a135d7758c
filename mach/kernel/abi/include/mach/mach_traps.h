// <mach/mach_traps.h>: calls that are traps on Darwin, except mach_msg. mach_reply_port is
// implemented, for programs that declare it themselves: Darwin's header hides it behind PRIVATE.
#pragma once

#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/port.h>

#ifdef __cplusplus
extern "C" {
#endif

// Sets *x to the process of a task, or to -1 and fails with KERN_FAILURE if `t` is not a task.
kern_return_t pid_for_task(mach_port_name_t t, int* x);

#ifdef __cplusplus
}
#endif
