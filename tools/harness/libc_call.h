// libc_call: for the definitions of the C library's functions that a world controls.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>

#include "kedge/runtime/base/outside_heap.h"
#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {

// A process of the world has crashed, and with it the machine's, which only reports that now: its
// calls are the C library's.
inline constinit thread_local bool is_reporting_crash = false;

// The process that calls; null: it is not in a world.
inline running_process* caller() noexcept {
  return is_reporting_crash ? nullptr : world_state::running();
}

// Fills memory from the process's random numbers.
void fill_random(running_process& p, void* to, std::size_t size) noexcept;

// Returns the next definition of the function `name`: that of a sanitizer, which is a weak symbol,
// or the C library's.
template <class Function>
Function* next_of(const char* name, Function* interceptor = nullptr) noexcept {
  if (interceptor != nullptr) return interceptor;
  const base::outside_heap kept;
  void* const found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

}  // namespace kedge::harness
