// Implements mach_vm_map(), mach_vm_remap(), vm_map() and vm_remap(). The order of the checks is
// that of XNU's vm_map_enter_mem_object() and vm_map_remap().
#include <mach/mach.h>
#include <mach/mach_vm.h>

#include <new>
#include <vector>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/entry_port.h"
#include "kedge/mach/kernel/abi/inheritance.h"
#include "kedge/mach/kernel/abi/map_again.h"
#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/abi/readable_pages.h"

namespace kernel = kedge::mach::kernel;
namespace address_space = kedge::mach::kernel::address_space;
using kernel::named_memory;
using kernel::port_kind;

namespace {

constexpr int data_address_flags = VM_FLAGS_RETURN_DATA_ADDR | VM_FLAGS_RETURN_4K_DATA_ADDR;

address_space::place place_of(int flags, mach_vm_address_t address, mach_vm_offset_t mask) {
  return {(flags & VM_FLAGS_ANYWHERE) != 0, (flags & VM_FLAGS_OVERWRITE) != 0,
          mach_vm_trunc_page(address), mask};
}

// Sets what else the caller has asked of new pages. Releases them if that fails.
kern_return_t finish(kernel::user_address at, mach_vm_size_t size, int flags,
                     vm_inherit_t inheritance) {
  kern_return_t result = KERN_SUCCESS;
  if (inheritance != VM_INHERIT_COPY) {
    result = address_space::set_inheritance(at, at + size, inheritance);
  }
  if (result == KERN_SUCCESS && (flags & VM_FLAGS_PERMANENT)) {
    result = address_space::make_permanent(at, size);
  }
  if (result != KERN_SUCCESS) address_space::deallocate(at, size);
  return result;
}

// Protects new pages. Releases them if Linux refuses.
kern_return_t protect_new(kernel::user_address at, mach_vm_size_t whole, vm_prot_t protection) {
  if (protection == VM_PROT_DEFAULT) return KERN_SUCCESS;
  const kern_return_t result = mach_vm_protect(mach_task_self(), at, whole, 0, protection);
  if (result != KERN_SUCCESS) address_space::deallocate(at, whole);
  return result;
}

// What the arguments of mach_vm_map ask for.
struct mapping_request {
  address_space::place where;
  mach_vm_size_t size = 0;  // as given
  int flags = 0;
  bool copies = false;
  vm_prot_t now = VM_PROT_NONE;
  vm_prot_t most = VM_PROT_NONE;
};

kern_return_t map_new(const mapping_request& asked, mach_vm_size_t whole,
                      kernel::user_address& at) {
  const address_space::place& where = asked.where;
  const bool plain = where.anywhere && where.at == 0 && where.alignment <= vm_page_mask;
  const kern_return_t result =
      plain ? address_space::allocate_next(whole, at) : address_space::find_room(where, whole, at);
  return result == KERN_SUCCESS ? protect_new(at, whole, asked.now) : result;
}

kern_return_t map_pages(const named_memory& from, std::uint64_t offset, mach_vm_size_t whole,
                        const mapping_request& asked, kernel::user_address& at) {
  if (!asked.copies) {
    return address_space::map_common(from.file, offset, whole, asked.where, asked.now, at);
  }
  const kern_return_t found = address_space::find_room(asked.where, whole, at);
  if (found != KERN_SUCCESS) return found;
  from.file->read(offset, reinterpret_cast<void*>(at), whole);
  return protect_new(at, whole, asked.now);
}

// What mach_vm_map has mapped.
struct mapped_pages {
  kernel::user_address at = 0;
  mach_vm_size_t whole = 0;   // size
  std::uint64_t in_page = 0;  // where the data begins, if the caller has asked for its address
};

// Maps an entry from `offset` on.
kern_return_t map_entry(const named_memory& from, std::uint64_t offset, mapping_request& asked,
                        mapped_pages& made) {
  const bool at_data = (asked.flags & data_address_flags) != 0;
  if (at_data) offset += from.data_offset;
  if (at_data && offset < from.data_offset) return KERN_INVALID_ARGUMENT;
  if (asked.most & VM_PROT_IS_MASK) asked.most &= from.permission;
  if (asked.now & VM_PROT_IS_MASK) asked.now &= from.permission;
  if (((asked.now | asked.most) & ~from.permission) != 0) return KERN_INVALID_RIGHT;
  if (asked.size > from.size || offset > from.size - asked.size) return KERN_INVALID_ARGUMENT;
  if (at_data) made.in_page = offset & vm_page_mask;
  if (asked.flags & VM_FLAGS_RETURN_4K_DATA_ADDR) made.in_page &= ~std::uint64_t{0xFFF};
  if (from.is_whole) {
    constexpr unsigned accepted =
        VM_FLAGS_ANYWHERE | VM_FLAGS_OVERWRITE | static_cast<unsigned>(data_address_flags);
    if (kernel::has_bad_flags(asked.flags, accepted)) return KERN_INVALID_ARGUMENT;
    made.whole = from.size;
    return map_pages(from, from.offset, made.whole, asked, made.at);
  }
  offset -= made.in_page;
  if ((offset & vm_page_mask) != 0) return KERN_INVALID_ARGUMENT;
  made.whole = mach_vm_round_page(asked.size + made.in_page);
  return map_pages(from, from.offset + offset, made.whole, asked, made.at);
}

// Copies the pages to `where`, which may be over them. They must be readable.
kern_return_t map_copy(mach_vm_address_t start, mach_vm_size_t whole,
                       const address_space::place& where, kernel::user_address& at) {
  mach_vm_address_t from = start;
  const bool overlaps =
      !where.anywhere && where.replaces && where.at < start + whole && start < where.at + whole;
  if (overlaps) {
    // The room takes pages of the source away.
    kern_return_t failed = address_space::allocate(whole, from);
    if (failed == KERN_SUCCESS) failed = mach_vm_copy(mach_task_self(), start, whole, from);
    if (failed != KERN_SUCCESS) return failed;
  }
  kern_return_t result = address_space::find_room(where, whole, at);
  if (result == KERN_SUCCESS) {
    result = mach_vm_copy(mach_task_self(), from, whole, at);
    if (result != KERN_SUCCESS) address_space::deallocate(at, whole);
  }
  if (overlaps) address_space::deallocate(from, whole);
  return result;
}

// Maps the pages, or a copy of them, at `where`, each with the protection that it has. Gives what
// all of them permit (Darwin: vm_map_remap_extract). KERN_INVALID_ADDRESS: not all are mapped.
kern_return_t map_range(mach_vm_address_t start, mach_vm_size_t whole, bool copies,
                        const address_space::place& where, kernel::user_address& at,
                        vm_prot_t& permitted) {
  kern_return_t result = kernel::check_memory_access(start, whole, VM_PROT_NONE);
  if (result != KERN_SUCCESS) return result;
  try {
    const std::vector<kernel::mapping> parts = kernel::mappings_within(start, start + whole);
    if (copies) {
      const address_space::readable_pages opened(parts);
      result = map_copy(start, whole, where, at);
    } else {
      result = address_space::map_again(start, whole, where, at);
    }
    if (result != KERN_SUCCESS) return result;
    permitted = VM_PROT_ALL;
    for (const kernel::mapping& each : parts) {
      permitted &= each.protection;
      if (each.protection == VM_PROT_DEFAULT) continue;
      result = mach_vm_protect(mach_task_self(), at + (each.start - start), each.end - each.start,
                               0, each.protection);
      if (result == KERN_SUCCESS) continue;
      address_space::deallocate(at, whole);
      return result;
    }
    return KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

}  // namespace

extern "C" {

kern_return_t mach_vm_map(vm_map_t target_task, mach_vm_address_t* address, mach_vm_size_t size,
                          mach_vm_offset_t mask, int flags, mem_entry_name_port_t object,
                          memory_object_offset_t offset, boolean_t copy, vm_prot_t cur_protection,
                          vm_prot_t max_protection, vm_inherit_t inheritance) {
  const kern_return_t no_task = kernel::check_memory_task(target_task);
  if (no_task == MACH_SEND_INVALID_DEST) return no_task;
  named_memory from;
  port_kind kind = port_kind::none;
  kern_return_t result = kernel::open_entry(object, kind, from);
  if (result != KERN_SUCCESS) return result;
  if (no_task != KERN_SUCCESS) return no_task;
  constexpr vm_prot_t protections = VM_PROT_ALL | VM_PROT_IS_MASK;
  if (kernel::has_bad_flags(flags, kernel::map_flags) ||
      ((cur_protection | max_protection) & ~protections) != 0 ||
      inheritance > VM_INHERIT_LAST_VALID || size == 0) {
    return KERN_INVALID_ARGUMENT;
  }
  mapping_request asked{.where = place_of(flags, *address, mask),
                        .size = size,
                        .flags = flags,
                        .copies = copy != 0,
                        .now = cur_protection,
                        .most = max_protection};
  // A protection beyond the maximum is taken off, except for VM_PROT_IS_MASK.
  asked.now &= max_protection | VM_PROT_IS_MASK;
  mapped_pages made{.whole = mach_vm_round_page(size)};
  const bool is_fixed = !asked.where.anywhere;
  if (made.whole == 0 || (is_fixed && kernel::wraps_around(asked.where.at, size)) ||
      (kind != port_kind::none && kernel::wraps_around(offset, made.whole))) {
    return KERN_INVALID_ARGUMENT;
  }
  switch (kind) {
    case port_kind::none:
      asked.now &= VM_PROT_ALL;
      result = map_new(asked, made.whole, made.at);
      break;
    case port_kind::entry:
      result = map_entry(from, offset, asked, made);
      break;
    case port_kind::other:
      return KERN_INVALID_OBJECT;
  }
  if (result == KERN_SUCCESS) result = finish(made.at, made.whole, flags, inheritance);
  if (result == KERN_SUCCESS) *address = made.at + made.in_page;
  return result;
}

kern_return_t mach_vm_remap(vm_map_t target_task, mach_vm_address_t* target_address,
                            mach_vm_size_t size, mach_vm_offset_t mask, int flags,
                            vm_map_t src_task, mach_vm_address_t src_address, boolean_t copy,
                            vm_prot_t* cur_protection, vm_prot_t* max_protection,
                            vm_inherit_t inheritance) {
  kern_return_t result = kernel::check_memory_task(target_task);
  if (result == KERN_SUCCESS) result = kernel::check_memory_task(src_task);
  if (result != KERN_SUCCESS) return result;
  // Without VM_FLAGS_RETURN_DATA_ADDR the size counts from the page of the address.
  const bool at_data = (flags & VM_FLAGS_RETURN_DATA_ADDR) != 0;
  const mach_vm_address_t start = mach_vm_trunc_page(src_address);
  const mach_vm_address_t first = at_data ? src_address : start;
  if (kernel::has_bad_flags(flags, kernel::remap_flags) || inheritance > VM_INHERIT_LAST_VALID ||
      size == 0 || kernel::wraps_around(first, size) ||
      ((flags & VM_FLAGS_RESILIENT_MEDIA) && !copy)) {
    return KERN_INVALID_ARGUMENT;
  }
  const mach_vm_size_t whole = mach_vm_round_page(first + size) - start;
  kernel::user_address at = 0;
  vm_prot_t permitted = VM_PROT_NONE;
  result =
      map_range(start, whole, copy != 0, place_of(flags, *target_address, mask), at, permitted);
  if (result == KERN_SUCCESS) result = finish(at, whole, flags, inheritance);
  if (result != KERN_SUCCESS) return result;
  *target_address = at_data ? at + (src_address - start) : at;
  *cur_protection = permitted;
  *max_protection = VM_PROT_ALL;
  return KERN_SUCCESS;
}

kern_return_t vm_map(vm_map_t target_task, vm_address_t* address, vm_size_t size, vm_address_t mask,
                     int flags, mem_entry_name_port_t object, vm_offset_t offset, boolean_t copy,
                     vm_prot_t cur_protection, vm_prot_t max_protection, vm_inherit_t inheritance) {
  mach_vm_address_t at = *address;
  const kern_return_t result = mach_vm_map(target_task, &at, size, mask, flags, object, offset,
                                           copy, cur_protection, max_protection, inheritance);
  *address = at;
  return result;
}

kern_return_t vm_remap(vm_map_t target_task, vm_address_t* target_address, vm_size_t size,
                       vm_address_t mask, int flags, vm_map_t src_task, vm_address_t src_address,
                       boolean_t copy, vm_prot_t* cur_protection, vm_prot_t* max_protection,
                       vm_inherit_t inheritance) {
  mach_vm_address_t at = *target_address;
  const kern_return_t result =
      mach_vm_remap(target_task, &at, size, mask, flags, src_task, src_address, copy,
                    cur_protection, max_protection, inheritance);
  *target_address = at;
  return result;
}

}  // extern "C"
