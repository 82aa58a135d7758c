// Implements check_*() from /proc/self/maps.
#include "kedge/mach/kernel/abi/check_memory.h"

#include <mach/mach.h>
#include <sys/mman.h>

#include <new>
#include <vector>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kedge::mach::kernel {

kern_return_t check_memory_task(mach_port_t task) {
  if (task == mach_task_self()) return KERN_SUCCESS;
  const kern_return_t is = call(requests::check_task{}, task).result;
  return is == KERN_INVALID_TASK ? KERN_INVALID_ARGUMENT : is;
}

bool wraps_around(mach_vm_address_t at, mach_vm_size_t size) noexcept {
  const mach_vm_address_t end = at + size;
  return end < at || mach_vm_round_page(end) <= mach_vm_trunc_page(at);
}

kern_return_t check_memory_access(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t needed) {
  try {
    const mach_vm_address_t end = at + size;
    if (end < at) return KERN_INVALID_ADDRESS;
    for (const mapping& each : mappings(at, end)) {
      if (each.start > at) break;
      if ((each.protection & needed) != needed) return KERN_PROTECTION_FAILURE;
      at = each.end;
      if (at >= end) break;
    }
    return at < end ? KERN_INVALID_ADDRESS : KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

kern_return_t check_copy_access(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t needed) {
  if (size == 0) return KERN_SUCCESS;
  if (wraps_around(at, size)) return KERN_INVALID_ADDRESS;
  const kern_return_t result = check_memory_access(at, size, needed);
  const bool is_buffered = size <= max_buffered_copy && result == KERN_PROTECTION_FAILURE;
  return is_buffered ? KERN_INVALID_ADDRESS : result;
}

vm_prot_t protection_of(mach_vm_address_t at) {
  try {
    const std::vector<mapping> found = mappings(at, at + 1);
    return found.empty() ? VM_PROT_NONE : found.front().protection;
  } catch (const std::bad_alloc&) {
    return VM_PROT_NONE;
  }
}

}  // namespace kedge::mach::kernel
