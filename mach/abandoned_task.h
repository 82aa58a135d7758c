// abandon_task(): for a simulation that has ended a task whose code will never run again.
#pragma once

#include "kedge/mach/kernel/extension.h"

namespace kedge::mach {

// Forgets what the library keeps about the rights and loops of the task, which has ended. Its
// objects stay as they are: their destructors must not run afterwards, nor any other function of
// theirs. Any thread.
void abandon_task(kernel::task ended) noexcept;

}  // namespace kedge::mach
