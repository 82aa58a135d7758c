// check_memory_*(): checks of the arguments of mach_vm_* calls, before they have any effect.
#pragma once

#include <mach/mach_types.h>
#include <mach/vm_prot.h>
#include <mach/vm_statistics.h>

namespace kedge::mach::kernel {

// The accepted VM_FLAGS_*. Those that say how, but not where, to allocate have no effect:
// purgeable, 4 GiB chunk, random address, no cache, resilient (0x7e).
inline constexpr unsigned known_memory_flags =
    VM_FLAGS_ANYWHERE | VM_FLAGS_OVERWRITE | VM_FLAGS_ALIAS_MASK | 0x7e;

// Returns KERN_SUCCESS if the name is a task's self port. MACH_SEND_INVALID_DEST: it is not a send
// right. KERN_INVALID_ARGUMENT: it is another port's.
kern_return_t check_memory_task(mach_port_t task);
// The same, and KERN_INVALID_ARGUMENT if the range, rounded up to pages, wraps around.
kern_return_t check_memory_range(mach_port_t task, mach_vm_address_t at, mach_vm_size_t size);
// Checks that the whole range is mapped (else KERN_INVALID_ADDRESS) with the permissions `needed`
// (else KERN_PROTECTION_FAILURE). KERN_RESOURCE_SHORTAGE: no memory for the check.
kern_return_t check_memory_access(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t needed);
// Returns the protection of the page at the address; VM_PROT_NONE if it is not mapped.
vm_prot_t protection_of(mach_vm_address_t at);

}  // namespace kedge::mach::kernel
