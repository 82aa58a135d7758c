// What the calls on memory ask before they do anything.
#pragma once

#include <mach/mach_types.h>
#include <mach/vm_prot.h>
#include <mach/vm_statistics.h>

namespace kedge::mach::kernel {

// Those that say how, but not where, memory is allocated are of no effect: purgeable, 4 GiB chunk,
// random address, no cache, resilient.
inline constexpr unsigned known_memory_flags =
    VM_FLAGS_ANYWHERE | VM_FLAGS_OVERWRITE | VM_FLAGS_ALIAS_MASK | 0x7e;

// Whether the name is a task's. MACH_SEND_INVALID_DEST, KERN_INVALID_ARGUMENT.
kern_return_t check_memory_task(mach_port_t task);
// The same, and KERN_INVALID_ARGUMENT if the range ends before it starts.
kern_return_t check_memory_range(mach_port_t task, mach_vm_address_t at, mach_vm_size_t size);
// KERN_INVALID_ADDRESS: some of it is nobody's. KERN_PROTECTION_FAILURE. KERN_RESOURCE_SHORTAGE.
kern_return_t check_memory_access(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t needed);
// Of the page at the address.
vm_prot_t protection_of(mach_vm_address_t at);

}  // namespace kedge::mach::kernel
