// <mach/task.h>: calls on a task that do not concern its names.
#pragma once

#include <mach/exception_types.h>
#include <mach/mach_types.h>
#include <mach/task_info.h>

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

// Describes the task by a flavor, TASK_SECURITY_TOKEN or TASK_AUDIT_TOKEN. *task_info_outCnt is the
// room, in words, and becomes the length. KERN_INVALID_ARGUMENT: another flavor, or no room.
kern_return_t task_info(task_name_t target_task, task_flavor_t flavor, task_info_t task_info_out,
                        mach_msg_type_number_t* task_info_outCnt);

// Which guard exceptions the task's calls deliver: TASK_EXC_GUARD_*. KERN_INVALID_VALUE: an unknown
// bit. KERN_INVALID_TASK.
kern_return_t task_get_exc_guard_behavior(task_inspect_t task, task_exc_guard_behavior_t* behavior);
kern_return_t task_set_exc_guard_behavior(task_t task, task_exc_guard_behavior_t behavior);

// This kernel delivers no exceptions, so that no exception ports are set. Setting none, which is
// MACH_PORT_NULL, succeeds; setting one is KERN_NOT_SUPPORTED. KERN_INVALID_ARGUMENT: as on Darwin.
kern_return_t task_set_exception_ports(task_t task, exception_mask_t exception_mask,
                                       mach_port_t new_port, exception_behavior_t behavior,
                                       thread_state_flavor_t new_flavor);
kern_return_t task_get_exception_ports(task_t task, exception_mask_t exception_mask,
                                       exception_mask_array_t masks,
                                       mach_msg_type_number_t* masksCnt,
                                       exception_handler_array_t old_handlers,
                                       exception_behavior_array_t old_behaviors,
                                       exception_flavor_array_t old_flavors);
kern_return_t task_swap_exception_ports(
    task_t task, exception_mask_t exception_mask, mach_port_t new_port,
    exception_behavior_t behavior, thread_state_flavor_t new_flavor, exception_mask_array_t masks,
    mach_msg_type_number_t* masksCnt, exception_handler_array_t old_handlers,
    exception_behavior_array_t old_behaviors, exception_flavor_array_t old_flavors);

// Set and get up to three ports for the children of the task. The caller of mach_ports_lookup
// deallocates the array and the rights in it.
kern_return_t mach_ports_register(task_t target_task, mach_port_array_t init_port_set,
                                  mach_msg_type_number_t init_port_setCnt);
kern_return_t mach_ports_lookup(task_t target_task, mach_port_array_t* init_port_set,
                                mach_msg_type_number_t* init_port_setCnt);

#ifdef __cplusplus
}
#endif
