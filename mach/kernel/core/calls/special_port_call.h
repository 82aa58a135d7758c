// special_port_call: task_get_special_port, task_set_special_port, mach_ports_register,
// mach_ports_lookup (Darwin: ipc_tt.c). Names are the caller's; the special ports are the target's.
#pragma once

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/special_ports.h"

namespace kedge::mach::kernel {

class special_port_call {
 public:
  special_port_call(ipc_task& caller, ipc_task& target, guard_violation& guard,
                    deferred_work& cleanup) noexcept
      : caller_(caller), target_(target), guard_(guard), cleanup_(cleanup) {}

  // KERN_INVALID_ARGUMENT if it is not one of these calls.
  kern_return_t run(const any_request& request, any_reply& reply);

 private:
  using slot = special_ports::slot;

  kern_return_t get(const requests::get_special_port& request, replies::get_special_port& reply);
  kern_return_t set(const requests::set_special_port& request);
  kern_return_t register_ports(const requests::register_ports& request);
  kern_return_t look_up(const requests::look_up_ports& request, replies::look_up_ports& reply);

  // Puts the right, which is consumed, into a slot.
  kern_return_t fill(slot at, carried_right right);
  kern_return_t end_filling();
  void deallocate_for_caller(mach_port_name_t name);

  ipc_task& caller_;
  ipc_task& target_;
  guard_violation& guard_;
  deferred_work& cleanup_;
};

}  // namespace kedge::mach::kernel
