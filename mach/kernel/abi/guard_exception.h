// raise_guard_exception(): delivers a guard exception (EXC_GUARD). There are no exception handlers
// here, so a delivered exception ends its task.
#pragma once

#include "kedge/mach/kernel/core/guard_violation.h"

namespace kedge::mach::kernel {

// Writes the guard, the port and the call to standard error, then ends the current task. If that is
// the process's own task, the process aborts. Else the function returns after the task has ended.
void raise_guard_exception(const guard_violation& violation, const char* call);

}  // namespace kedge::mach::kernel
