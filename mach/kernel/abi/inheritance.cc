// Implements set_inheritance() with madvise (Darwin: vm_map_inherit).
#include "kedge/mach/kernel/abi/inheritance.h"

#include <sys/mman.h>

#include <mutex>
#include <new>
#include <vector>

#include "kedge/mach/kernel/abi/map_again.h"
#include "kedge/mach/kernel/abi/segment_table.h"

namespace kedge::mach::kernel::address_space {
namespace {

// Returns true if the pages are shared with another mapping, or may be: memory that this kernel has
// allocated is mapped as shared though nothing else maps it. Throws std::bad_alloc.
bool is_common(const mapping& found) {
  if (!found.shared) return false;
  const std::lock_guard hold(known().lock);
  return !known().is_sole(found);
}

// Makes the pages ready for the inheritance. Throws std::bad_alloc.
kern_return_t prepare(const mapping& part, vm_inherit_t what) {
  if (what == VM_INHERIT_SHARE) {
    const kern_return_t result = make_inherited(part.start, part.end - part.start);
    // A child shares what the program has mapped as shared, without a call to this kernel.
    if (part.shared && result != KERN_RESOURCE_SHORTAGE) return KERN_SUCCESS;
    return result == KERN_INVALID_ADDRESS ? KERN_NOT_SUPPORTED : result;
  }
  if (!part.shared) return KERN_SUCCESS;
  const std::lock_guard hold(known().lock);
  const bool ends = known().end_sharing(part.start, part.end);
  return ends || what == VM_INHERIT_NONE ? KERN_SUCCESS : KERN_NOT_SUPPORTED;
}

}  // namespace

kern_return_t set_inheritance(user_address start, user_address end, vm_inherit_t what) noexcept {
  try {
    for (const mapping& each : mappings_within(start, end)) {
      const kern_return_t result = prepare(each, what);
      if (result != KERN_SUCCESS) return result;
    }
    const std::lock_guard hold(known().lock);
    if (what == VM_INHERIT_NONE) {
      known().not_inherited.add(start, end);
    } else {
      known().not_inherited.remove(start, end);
    }
    // ENOMEM: a part of the range is not mapped. The advice holds for the other parts.
    madvise(pointer(start), end - start, what == VM_INHERIT_NONE ? MADV_DONTFORK : MADV_DOFORK);
    return KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

sharing sharing_of(const mapping& found) noexcept {
  sharing is;
  try {
    is.is_shared = is_common(found);
    const std::lock_guard hold(known().lock);
    if (known().not_inherited.overlaps(found.start, found.start + 1)) {
      is.inheritance = VM_INHERIT_NONE;
    } else if (is.is_shared) {
      is.inheritance = VM_INHERIT_SHARE;
    }
  } catch (const std::bad_alloc&) {
    is.is_shared = found.shared;
  }
  return is;
}

}  // namespace kedge::mach::kernel::address_space
