// set_inheritance(), sharing_of(): what a fork's child gets of the memory of this process.
#pragma once

#include <mach/kern_return.h>
#include <mach/vm_inherit.h>

#include <cstdint>

#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kedge::mach::kernel::address_space {

// Sets what a fork's child gets of the pages in the range; pages that are not mapped are ignored.
// VM_INHERIT_SHARE makes the pages common first. KERN_NOT_SUPPORTED: a copy of pages that other
// mappings share, which Linux cannot make at a fork; or VM_INHERIT_SHARE for a private mapping of a
// file. KERN_RESOURCE_SHORTAGE.
kern_return_t set_inheritance(user_address start, user_address end, vm_inherit_t what) noexcept;

struct sharing {
  bool is_shared = false;  // another mapping may show what is written
  vm_inherit_t inheritance = VM_INHERIT_COPY;
};
sharing sharing_of(const mapping& found) noexcept;

}  // namespace kedge::mach::kernel::address_space
