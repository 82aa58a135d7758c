// Implements set_inheritance() with madvise (Darwin: vm_map_inherit).
#include "kedge/mach/kernel/abi/inheritance.h"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/abi/segment_table.h"

namespace kedge::mach::kernel::address_space {
namespace {

// Returns true if the pages are shared with another mapping, or may be: memory that this kernel has
// allocated is mapped as shared though nothing else maps it. Throws std::bad_alloc.
bool is_common(const mapping& found) {
  if (!found.shared) return false;
  const std::lock_guard<std::mutex> hold(known().lock);
  return !known().is_sole(found.start, found.end);
}

// Makes the pages ready for the inheritance. Throws std::bad_alloc.
kern_return_t prepare(const mapping& part, vm_inherit_t what) {
  if (what == VM_INHERIT_NONE) return KERN_SUCCESS;
  if (is_common(part)) return what == VM_INHERIT_SHARE ? KERN_SUCCESS : KERN_NOT_SUPPORTED;
  if (what == VM_INHERIT_COPY) return KERN_SUCCESS;
  ref<memory_file> file;
  std::uint64_t offset = 0;
  const kern_return_t result = make_common(part.start, part.end - part.start, file, offset);
  return result == KERN_INVALID_ADDRESS ? KERN_NOT_SUPPORTED : result;
}

}  // namespace

kern_return_t set_inheritance(user_address start, user_address end, vm_inherit_t what) noexcept {
  try {
    for (mapping each : mappings(start, end)) {
      each.start = std::max<user_address>(each.start, start);
      each.end = std::min<user_address>(each.end, end);
      const kern_return_t result = prepare(each, what);
      if (result != KERN_SUCCESS) return result;
    }
    const std::lock_guard<std::mutex> hold(known().lock);
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
    const std::lock_guard<std::mutex> hold(known().lock);
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
