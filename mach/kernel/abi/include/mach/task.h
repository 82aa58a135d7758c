// <mach/task.h>: calls on a task that do not concern its names.
#pragma once

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

// Makes a semaphore that belongs to `task`. It is destroyed when `task` ends.
kern_return_t semaphore_create(task_t task, semaphore_t* semaphore, int policy, int value);
// Destroys the semaphore and consumes the send right.
kern_return_t semaphore_destroy(task_t task, semaphore_t semaphore);

// Gives a send right to the port `which_port` (TASK_*_PORT), or MACH_PORT_NULL or MACH_PORT_DEAD if
// it is not set or dead. KERN_INVALID_ARGUMENT: this kernel has no such port.
kern_return_t task_get_special_port(task_inspect_t task, int which_port, mach_port_t* special_port);
// Copies the send right. A new task inherits its parent's bootstrap port. KERN_NO_ACCESS: the
// task and host ports cannot be set, the access port only once.
kern_return_t task_set_special_port(task_t task, int which_port, mach_port_t special_port);

// Set and get up to three ports for the children of the task. The caller of mach_ports_lookup
// deallocates the array and the rights in it.
kern_return_t mach_ports_register(task_t target_task, mach_port_array_t init_port_set,
                                  mach_msg_type_number_t init_port_setCnt);
kern_return_t mach_ports_lookup(task_t target_task, mach_port_array_t* init_port_set,
                                mach_msg_type_number_t* init_port_setCnt);

#ifdef __cplusplus
}
#endif
