// The binding through which this process's mach_* functions call the kernel.
#pragma once

#include <atomic>

#include "kedge/mach/kernel/abi/guard_exception.h"
#include "kedge/mach/kernel/core/binding.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

inline constinit std::atomic<binding*> binding_in_use{nullptr};  // null: not chosen yet
binding& use_default_binding();

// Returns the binding in use: the default one, unless bind() has chosen another.
inline binding& bound() {
  binding* const found = binding_in_use.load(std::memory_order_acquire);
  return found ? *found : use_default_binding();
}

// Chooses the binding to use; null chooses the default one. Returns the one used before, or null.
// For tests. Requires that no call is in progress. A fork's child uses the default binding.
binding* bind(binding* chosen) noexcept;

// Makes a call as the thread's current task.
reply call(call_number number, mach_port_name_t target, std::uint64_t word0 = 0,
           std::uint64_t word1 = 0, std::uint64_t word2 = 0, std::uint64_t word3 = 0,
           std::uint64_t word4 = 0);

// The same, for a request that has everything but the task. Raises the guard violation of the
// reply, if any; `name` is the Darwin function that its report names.
inline void call(request& what, reply& answer, const char* name) {
  what.task = task_of_thread().id;
  bound().call(what, answer, own_memory());
  if (answer.guard.code != 0) [[unlikely]]
    raise_guard_exception(answer.guard, name);
}

}  // namespace kedge::mach::kernel
