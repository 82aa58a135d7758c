// The mach_port_* calls (Darwin: mach_port.c). `target` is the task whose space is meant; rights
// that are passed or returned by name are the caller's.
#pragma once

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

void do_port_call(ipc_task& caller, ipc_task& target, const request& what, reply& answer,
                  copyio& memory, deferred_work& after);

}  // namespace kedge::mach::kernel
