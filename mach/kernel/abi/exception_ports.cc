// Implements task_{set,get,swap}_exception_ports() and their thread_*() twins for a kernel that
// delivers no exceptions (Darwin: set_exception_ports_validation, task_get_exception_ports).
#include <mach/mach.h>
#include <mach/thread_act.h>

#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/ipc_space.h"

namespace {

constexpr exception_mask_t valid_exceptions =
    EXC_MASK_ALL | EXC_MASK_CRASH | EXC_MASK_CORPSE_NOTIFY;

// MACH_SEND_INVALID_DEST: not a send right. KERN_INVALID_ARGUMENT: not a thread's.
kern_return_t check_thread(thread_act_t thread) {
  // The threads of a task have one port, under the same name in every task.
  if (thread == kedge::mach::kernel::thread_self_name) return KERN_SUCCESS;
  return kedge::mach::kernel::fault_of_destination(thread);
}

bool is_behavior(exception_behavior_t behavior) noexcept {
  const unsigned kind = static_cast<unsigned>(behavior) & ~MACH_EXCEPTION_MASK;
  return kind >= EXCEPTION_DEFAULT && kind <= EXCEPTION_IDENTITY_PROTECTED;
}

// Checks the arguments of a call that would set a port, and refuses a port.
kern_return_t check_new_port(exception_mask_t mask, mach_port_t port,
                             exception_behavior_t behavior) {
  if (mask & ~valid_exceptions) return KERN_INVALID_ARGUMENT;
  if (!MACH_PORT_VALID(port)) return KERN_SUCCESS;
  return is_behavior(behavior) ? KERN_NOT_SUPPORTED : KERN_INVALID_ARGUMENT;
}

// The caller's arrays for the ports that were set. `count`: their room, then how many entries.
struct old_ports {
  exception_mask_array_t masks;
  mach_msg_type_number_t* count;
  exception_handler_array_t handlers;
  exception_behavior_array_t behaviors;
  exception_flavor_array_t flavors;
};

// Gives one entry for all exceptions of the mask: no port is set. `bad`: the fault of the call's
// other arguments, which comes first.
kern_return_t give_none(kern_return_t bad, exception_mask_t mask, const old_ports& old) {
  if (bad != KERN_SUCCESS) return bad;
  if (mask & ~valid_exceptions) return KERN_INVALID_ARGUMENT;
  const bool is_given = mask != 0 && *old.count > 0;
  *old.count = is_given ? 1 : 0;
  if (!is_given) return KERN_SUCCESS;
  old.masks[0] = mask;
  old.handlers[0] = MACH_PORT_NULL;
  old.behaviors[0] = 0;
  old.flavors[0] = 0;
  return KERN_SUCCESS;
}

}  // namespace

extern "C" {

kern_return_t task_set_exception_ports(task_t task, exception_mask_t exception_mask,
                                       mach_port_t new_port, exception_behavior_t behavior,
                                       thread_state_flavor_t) {
  const kern_return_t bad = kedge::mach::kernel::check_memory_task(task);
  return bad == KERN_SUCCESS ? check_new_port(exception_mask, new_port, behavior) : bad;
}

kern_return_t task_get_exception_ports(task_t task, exception_mask_t exception_mask,
                                       exception_mask_array_t masks,
                                       mach_msg_type_number_t* masksCnt,
                                       exception_handler_array_t old_handlers,
                                       exception_behavior_array_t old_behaviors,
                                       exception_flavor_array_t old_flavors) {
  const kern_return_t bad = kedge::mach::kernel::check_memory_task(task);
  return give_none(bad, exception_mask,
                   {masks, masksCnt, old_handlers, old_behaviors, old_flavors});
}

kern_return_t task_swap_exception_ports(
    task_t task, exception_mask_t exception_mask, mach_port_t new_port,
    exception_behavior_t behavior, thread_state_flavor_t new_flavor, exception_mask_array_t masks,
    mach_msg_type_number_t* masksCnt, exception_handler_array_t old_handlers,
    exception_behavior_array_t old_behaviors, exception_flavor_array_t old_flavors) {
  const kern_return_t bad =
      task_set_exception_ports(task, exception_mask, new_port, behavior, new_flavor);
  return give_none(bad, exception_mask,
                   {masks, masksCnt, old_handlers, old_behaviors, old_flavors});
}

kern_return_t thread_set_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                         mach_port_t new_port, exception_behavior_t behavior,
                                         thread_state_flavor_t) {
  const kern_return_t bad = check_thread(thread);
  return bad == KERN_SUCCESS ? check_new_port(exception_mask, new_port, behavior) : bad;
}

kern_return_t thread_get_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                         exception_mask_array_t masks,
                                         mach_msg_type_number_t* masksCnt,
                                         exception_handler_array_t old_handlers,
                                         exception_behavior_array_t old_behaviors,
                                         exception_flavor_array_t old_flavors) {
  const kern_return_t bad = check_thread(thread);
  return give_none(bad, exception_mask,
                   {masks, masksCnt, old_handlers, old_behaviors, old_flavors});
}

kern_return_t thread_swap_exception_ports(
    thread_act_t thread, exception_mask_t exception_mask, mach_port_t new_port,
    exception_behavior_t behavior, thread_state_flavor_t new_flavor, exception_mask_array_t masks,
    mach_msg_type_number_t* masksCnt, exception_handler_array_t old_handlers,
    exception_behavior_array_t old_behaviors, exception_flavor_array_t old_flavors) {
  const kern_return_t bad =
      thread_set_exception_ports(thread, exception_mask, new_port, behavior, new_flavor);
  return give_none(bad, exception_mask,
                   {masks, masksCnt, old_handlers, old_behaviors, old_flavors});
}

}  // extern "C"
