// Calls on a task that are not about its names.
#pragma once

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

// The semaphore belongs to `task`, with which it ends.
kern_return_t semaphore_create(task_t task, semaphore_t* semaphore, int policy, int value);
// Consumes the send right.
kern_return_t semaphore_destroy(task_t task, semaphore_t semaphore);

// TASK_*_PORT. A send right to it; null and dead ones are given as such. KERN_INVALID_ARGUMENT: no
// such port here.
kern_return_t task_get_special_port(task_inspect_t task, int which_port, mach_port_t* special_port);
// Takes a copy of a send right. A new task inherits its parent's bootstrap port. KERN_NO_ACCESS.
kern_return_t task_set_special_port(task_t task, int which_port, mach_port_t special_port);

// Up to three ports for the children of the task. The array that lookup gives is to be deallocated,
// and the rights.
kern_return_t mach_ports_register(task_t target_task, mach_port_array_t init_port_set,
                                  mach_msg_type_number_t init_port_setCnt);
kern_return_t mach_ports_lookup(task_t target_task, mach_port_array_t* init_port_set,
                                mach_msg_type_number_t* init_port_setCnt);

#ifdef __cplusplus
}
#endif
