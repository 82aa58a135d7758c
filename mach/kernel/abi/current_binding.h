// Which kernel this process's mach_* functions call.
#pragma once

#include <atomic>

#include "kedge/mach/kernel/abi/guard_exception.h"
#include "kedge/mach/kernel/core/binding.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

inline constinit std::atomic<binding*> binding_in_use{nullptr};  // null: not asked for yet
binding& use_default_binding();

// The binding in use; the default one unless another was chosen.
inline binding& bound() {
  binding* const found = binding_in_use.load(std::memory_order_acquire);
  return found ? *found : use_default_binding();
}

// Chooses another binding, or the default one again (null); returns what was in use before. For
// tests, while no call is in progress. A fork's child uses the default binding.
binding* bind(binding* chosen) noexcept;

// Makes a call of the thread's current task.
reply call(call_number number, mach_port_name_t target, std::uint64_t word0 = 0,
           std::uint64_t word1 = 0, std::uint64_t word2 = 0, std::uint64_t word3 = 0,
           std::uint64_t word4 = 0);

// The same, for a request that is filled in but for the task. Raises the guard violation of the
// reply, if there is one.
inline void call(request& what, reply& answer, const char* name) {
  what.task = task_of_thread().id;
  bound().call(what, answer, own_memory());
  if (answer.guard.code != 0) [[unlikely]]
    raise_guard_exception(answer.guard, name);
}

}  // namespace kedge::mach::kernel
