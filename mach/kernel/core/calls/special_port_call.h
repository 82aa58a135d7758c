// task_get_special_port, task_set_special_port, mach_ports_register, mach_ports_lookup (Darwin:
// ipc_tt.c).
#pragma once

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

kern_return_t do_special_port_call(ipc_task& caller, ipc_task& target, const request& what,
                                   reply& answer, deferred_work& after);

}  // namespace kedge::mach::kernel
