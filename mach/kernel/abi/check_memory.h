// check_*(): checks of the arguments of mach_vm_* calls, before they have any effect.
#pragma once

#include <mach/mach_types.h>
#include <mach/vm_prot.h>
#include <mach/vm_statistics.h>

namespace kedge::mach::kernel {

// The flags that each call accepts (Darwin: VM_FLAGS_USER_ALLOCATE, _MAP, _REMAP). Those that say
// how, but not where, to allocate have no effect: purgeable, 4 GiB chunk, random address, no cache,
// trusted path.
inline constexpr unsigned allocate_flags =
    VM_FLAGS_ANYWHERE | VM_FLAGS_PURGABLE | VM_FLAGS_4GB_CHUNK | VM_FLAGS_RANDOM_ADDR |
    VM_FLAGS_NO_CACHE | VM_FLAGS_PERMANENT | VM_FLAGS_TPRO | VM_FLAGS_OVERWRITE |
    VM_FLAGS_SUPERPAGE_MASK | VM_FLAGS_ALIAS_MASK;
inline constexpr unsigned map_flags =
    allocate_flags | VM_FLAGS_RETURN_DATA_ADDR | VM_FLAGS_RETURN_4K_DATA_ADDR;
inline constexpr unsigned remap_flags = VM_FLAGS_ANYWHERE | VM_FLAGS_RANDOM_ADDR |
                                        VM_FLAGS_OVERWRITE | VM_FLAGS_RETURN_DATA_ADDR |
                                        VM_FLAGS_RESILIENT_CODESIGN | VM_FLAGS_RESILIENT_MEDIA;

// Returns true if `flags` has others than `accepted`, or asks for large pages, which this kernel
// does not have: as on a Darwin without them.
constexpr bool has_bad_flags(int flags, unsigned accepted) noexcept {
  return (static_cast<unsigned>(flags) & (~accepted | VM_FLAGS_SUPERPAGE_MASK)) != 0;
}

// Returns KERN_SUCCESS if the name is a task's self port. MACH_SEND_INVALID_DEST: it is not a send
// right. KERN_INVALID_ARGUMENT: it is another port's.
kern_return_t check_memory_task(mach_port_t task);

// Returns true if the range, of which size is not 0, ends behind the address space, also if only by
// the rounding to pages (Darwin: vm_sanitize_addr_size).
bool wraps_around(mach_vm_address_t at, mach_vm_size_t size) noexcept;

// Checks that the whole range is mapped (else KERN_INVALID_ADDRESS) with the permissions `needed`
// (else KERN_PROTECTION_FAILURE). KERN_RESOURCE_SHORTAGE: no memory for the check.
kern_return_t check_memory_access(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t needed);
// The same for a side of a copy. Any failure is KERN_INVALID_ADDRESS if the copy passes through a
// buffer of the kernel. A size of 0 succeeds at any address (Darwin: vm_map_copyin_internal,
// vm_map_copy_overwrite).
kern_return_t check_copy_access(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t needed);

// Returns the protection of the page at the address; VM_PROT_NONE if it is not mapped.
vm_prot_t protection_of(mach_vm_address_t at);

}  // namespace kedge::mach::kernel
