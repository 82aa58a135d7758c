// Which kernel this process's mach_* functions call.
#pragma once

#include "kedge/mach/kernel/core/binding.h"

namespace kedge::mach::kernel {

// The binding in use; the default one unless another was chosen.
binding& bound();

// Chooses another binding, or the default one again (null); returns what was chosen before. For
// tests, while no call is in progress. A fork's child uses the default binding.
binding* bind(binding* chosen) noexcept;

// Makes a call of the thread's current task.
reply call(call_number number, mach_port_name_t target, std::uint64_t word0 = 0,
           std::uint64_t word1 = 0, std::uint64_t word2 = 0, std::uint64_t word3 = 0,
           std::uint64_t word4 = 0);

// The same, for a request that is filled in but for the task. Raises the guard violation of the
// reply, if there is one.
void call(request& what, reply& answer, const char* name);

}  // namespace kedge::mach::kernel
