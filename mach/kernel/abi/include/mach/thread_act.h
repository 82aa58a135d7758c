// <mach/thread_act.h>: calls on a thread.
#pragma once

#include <mach/exception_types.h>
#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

// The same as those of a task (<mach/task.h>). The threads of a task share one thread port here.
kern_return_t thread_set_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                         mach_port_t new_port, exception_behavior_t behavior,
                                         thread_state_flavor_t new_flavor);
kern_return_t thread_get_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                         exception_mask_array_t masks,
                                         mach_msg_type_number_t* masksCnt,
                                         exception_handler_array_t old_handlers,
                                         exception_behavior_array_t old_behaviors,
                                         exception_flavor_array_t old_flavors);
kern_return_t thread_swap_exception_ports(
    thread_act_t thread, exception_mask_t exception_mask, mach_port_t new_port,
    exception_behavior_t behavior, thread_state_flavor_t new_flavor, exception_mask_array_t masks,
    mach_msg_type_number_t* masksCnt, exception_handler_array_t old_handlers,
    exception_behavior_array_t old_behaviors, exception_flavor_array_t old_flavors);

#ifdef __cplusplus
}
#endif
