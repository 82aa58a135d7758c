// What becomes of an always-fatal guard exception: it ends the process, unless somebody has asked
// to be told instead.
#pragma once

#include "kedge/mach/kernel/core/guard_violation.h"

namespace kedge::mach::kernel {

// `call`: the function that was called. If it returns, so does the call, with its error.
using guard_handler = void (*)(const guard_violation& violation, const char* call);

// Null: the default, which names guard, port and call on standard error and aborts. Returns the
// previous handler.
guard_handler set_guard_handler(guard_handler handler) noexcept;

void raise_guard_exception(const guard_violation& violation, const char* call);

}  // namespace kedge::mach::kernel
