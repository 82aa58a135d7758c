// What becomes of a guard exception that is delivered: nobody catches it, so that it ends its task.
#pragma once

#include "kedge/mach/kernel/core/guard_violation.h"

namespace kedge::mach::kernel {

// Says on standard error which guard was violated at which port by which call. In the process's own
// task it aborts; another task of the process ends, and the call returns its error.
void raise_guard_exception(const guard_violation& violation, const char* call);

}  // namespace kedge::mach::kernel
