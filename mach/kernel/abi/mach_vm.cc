// Implements mach_vm_*() and vm_*(), except those that map memory entries or describe regions. All
// tasks of the process share its pages. The order of the checks is that of XNU's vm_user.c.
#include <mach/mach.h>
#include <mach/mach_vm.h>
#include <mach/vm_map.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/inheritance.h"
#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kernel = kedge::mach::kernel;
namespace address_space = kedge::mach::kernel::address_space;

namespace {

kern_return_t copy_bytes(mach_vm_address_t from, mach_vm_size_t size, mach_vm_address_t to) {
  kern_return_t bad = kernel::check_copy_access(from, size, PROT_READ);
  if (bad == KERN_SUCCESS) bad = kernel::check_copy_access(to, size, PROT_WRITE);
  if (bad == KERN_SUCCESS && size > 0) {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), size);
  }
  return bad;
}

// Copies to new pages. A large copy keeps the offset in the page.
kern_return_t read_bytes(mach_vm_address_t from, mach_vm_size_t size, mach_vm_address_t& at) {
  kern_return_t bad = kernel::check_copy_access(from, size, PROT_READ);
  if (bad != KERN_SUCCESS) return bad;
  kernel::carried_memory memory;
  bad = kernel::own_memory().take(from, size, {size > kernel::max_buffered_copy, false}, memory);
  return bad == KERN_SUCCESS ? kernel::own_memory().give(memory, at) : bad;
}

// Reads each range of a list of mach_vm_read_entry or vm_read_entry. A range of size 0, or one that
// cannot be read, becomes {0, 0}. Returns the result of the last read. If that is an error, the
// list stays as it was, as MIG's reply has no list then, and the caller cannot find the copies: on
// Darwin they stay allocated, here they are released.
template <typename Entry>
kern_return_t read_list(vm_map_read_t task, Entry* list, natural_t count) {
  const kern_return_t bad = kernel::check_memory_task(task);
  if (bad != KERN_SUCCESS) return bad;
  if (count > VM_MAP_ENTRY_MAX) return KERN_INVALID_ARGUMENT;
  std::array<Entry, VM_MAP_ENTRY_MAX> copies{};
  kern_return_t result = KERN_SUCCESS;
  for (natural_t index = 0; index < count; ++index) {
    const Entry& each = list[index];
    if (each.size == 0) continue;
    mach_vm_address_t at = 0;
    result = read_bytes(each.address, each.size, at);
    if (result == KERN_SUCCESS) copies[index] = {at, each.size};
  }
  if (result == KERN_SUCCESS) {
    std::copy_n(copies.begin(), count, list);
    return result;
  }
  for (const Entry& each : copies) {
    if (each.size != 0) address_space::deallocate(each.address, each.size);
  }
  return result;
}

// VM_PROT_* and PROT_* are the same bits.
static_assert(VM_PROT_READ == PROT_READ && VM_PROT_WRITE == PROT_WRITE &&
              VM_PROT_EXECUTE == PROT_EXEC);

kern_return_t protect(mach_vm_address_t start, mach_vm_size_t size, int protection) {
  if (mprotect(reinterpret_cast<void*>(start), size, protection) == 0) return KERN_SUCCESS;
  return errno == EACCES ? KERN_PROTECTION_FAILURE : KERN_INVALID_ADDRESS;
}

// Lowers the protection of the range to `maximum`. Linux keeps no maximum, so a later call can
// raise the protection again.
kern_return_t limit_protection(mach_vm_address_t start, mach_vm_size_t size, int maximum) {
  try {
    for (const kernel::mapping& each : kernel::mappings(start, start + size)) {
      const mach_vm_address_t from = std::max<mach_vm_address_t>(each.start, start);
      const mach_vm_address_t to = std::min<mach_vm_address_t>(each.end, start + size);
      if ((each.protection & ~maximum) == 0) continue;
      const kern_return_t result = protect(from, to - from, each.protection & maximum);
      if (result != KERN_SUCCESS) return result;
    }
    return KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

}  // namespace

extern "C" {

vm_size_t vm_page_size = 4096;
vm_size_t vm_page_mask = 4095;
int vm_page_shift = 12;

// Runs before other constructors, which may use the page size.
[[gnu::constructor(101)]] static void measure_pages() {
  vm_page_size = static_cast<vm_size_t>(sysconf(_SC_PAGESIZE));
  vm_page_mask = vm_page_size - 1;
  vm_page_shift = __builtin_ctzl(vm_page_size);
}

kern_return_t mach_vm_allocate(vm_map_t target, mach_vm_address_t* address, mach_vm_size_t size,
                               int flags) {
  const kern_return_t bad = kernel::check_memory_task(target);
  if (bad != KERN_SUCCESS) return bad;
  if (kernel::has_bad_flags(flags, kernel::allocate_flags)) return KERN_INVALID_ARGUMENT;
  if (size == 0) {
    *address = 0;
    return KERN_SUCCESS;
  }
  const mach_vm_size_t whole = mach_vm_round_page(size);
  kernel::user_address at = 0;
  kern_return_t result = KERN_SUCCESS;
  if (flags & VM_FLAGS_ANYWHERE) {
    if (whole == 0) return KERN_INVALID_ARGUMENT;
    result = address_space::allocate_next(size, at);
  } else {
    const mach_vm_address_t start = mach_vm_trunc_page(*address);
    if (whole != 0 && kernel::wraps_around(start, size)) return KERN_INVALID_ADDRESS;
    if (whole == 0) return KERN_INVALID_ARGUMENT;
    const bool replaces = (flags & VM_FLAGS_OVERWRITE) != 0;
    result = address_space::find_room({false, replaces, start, 0}, whole, at);
  }
  if (result == KERN_SUCCESS && (flags & VM_FLAGS_PERMANENT)) {
    result = address_space::make_permanent(at, whole);
    if (result != KERN_SUCCESS) address_space::deallocate(at, whole);
  }
  if (result == KERN_SUCCESS) *address = at;
  return result;
}

kern_return_t mach_vm_deallocate(vm_map_t target, mach_vm_address_t address, mach_vm_size_t size) {
  const kern_return_t bad = kernel::check_memory_task(target);
  if (bad != KERN_SUCCESS || size == 0) return bad;
  if (kernel::wraps_around(address, size)) return KERN_INVALID_ARGUMENT;
  address_space::deallocate(address, size);
  return KERN_SUCCESS;
}

kern_return_t mach_vm_protect(vm_map_t target_task, mach_vm_address_t address, mach_vm_size_t size,
                              boolean_t set_maximum, vm_prot_t new_protection) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS || size == 0) return bad;
  if ((new_protection & ~(VM_PROT_ALL | VM_PROT_COPY)) != 0 ||
      kernel::wraps_around(address, size)) {
    return KERN_INVALID_ARGUMENT;
  }
  const mach_vm_address_t start = mach_vm_trunc_page(address);
  const mach_vm_size_t whole = mach_vm_round_page(address + size) - start;
  const int protection = new_protection & VM_PROT_ALL;
  // If a page of the range is not mapped, no protection changes.
  const kern_return_t hole = kernel::check_memory_access(start, whole, VM_PROT_NONE);
  if (hole != KERN_SUCCESS) return hole;
  if (set_maximum) return limit_protection(start, whole, protection);
  if (protection != VM_PROT_NONE && address_space::is_closed(start, start + whole)) {
    return KERN_PROTECTION_FAILURE;
  }
  return protect(start, whole, protection);
}

kern_return_t mach_vm_inherit(vm_map_t target_task, mach_vm_address_t address, mach_vm_size_t size,
                              vm_inherit_t new_inheritance) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS || size == 0) return bad;
  if (new_inheritance > VM_INHERIT_LAST_VALID || kernel::wraps_around(address, size)) {
    return KERN_INVALID_ARGUMENT;
  }
  return address_space::set_inheritance(mach_vm_trunc_page(address),
                                        mach_vm_round_page(address + size), new_inheritance);
}

kern_return_t mach_vm_read(vm_map_read_t target_task, mach_vm_address_t address,
                           mach_vm_size_t size, vm_offset_t* data,
                           mach_msg_type_number_t* dataCnt) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS) return bad;
  if (size > ~mach_msg_type_number_t{0}) return KERN_INVALID_ARGUMENT;
  mach_vm_address_t at = 0;
  const kern_return_t result = size > 0 ? read_bytes(address, size, at) : KERN_SUCCESS;
  if (result != KERN_SUCCESS) return result;
  *data = at;
  *dataCnt = static_cast<mach_msg_type_number_t>(size);
  return KERN_SUCCESS;
}

kern_return_t mach_vm_read_list(vm_map_read_t target_task, mach_vm_read_entry_t data_list,
                                natural_t count) {
  return read_list(target_task, data_list, count);
}

kern_return_t mach_vm_read_overwrite(vm_map_read_t target_task, mach_vm_address_t address,
                                     mach_vm_size_t size, mach_vm_address_t data,
                                     mach_vm_size_t* outsize) {
  kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad == KERN_SUCCESS) bad = copy_bytes(address, size, data);
  if (bad == KERN_SUCCESS) *outsize = size;
  return bad;
}

kern_return_t mach_vm_write(vm_map_t target_task, mach_vm_address_t address, vm_offset_t data,
                            mach_msg_type_number_t dataCnt) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad == MACH_SEND_INVALID_DEST) return bad;
  // On Darwin the bytes are sent in a message: it fails before the task is looked at.
  if (kernel::check_copy_access(data, dataCnt, PROT_READ) != KERN_SUCCESS)
    return MACH_SEND_INVALID_MEMORY;
  return bad == KERN_SUCCESS ? copy_bytes(data, dataCnt, address) : bad;
}

kern_return_t mach_vm_copy(vm_map_t target_task, mach_vm_address_t source_address,
                           mach_vm_size_t size, mach_vm_address_t dest_address) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  return bad == KERN_SUCCESS ? copy_bytes(source_address, size, dest_address) : bad;
}

kern_return_t vm_allocate(vm_map_t target, vm_address_t* address, vm_size_t size, int flags) {
  mach_vm_address_t at = *address;
  const kern_return_t result = mach_vm_allocate(target, &at, size, flags);
  *address = at;
  return result;
}

kern_return_t vm_deallocate(vm_map_t target, vm_address_t address, vm_size_t size) {
  return mach_vm_deallocate(target, address, size);
}

kern_return_t vm_protect(vm_map_t target_task, vm_address_t address, vm_size_t size,
                         boolean_t set_maximum, vm_prot_t new_protection) {
  return mach_vm_protect(target_task, address, size, set_maximum, new_protection);
}

kern_return_t vm_read(vm_map_read_t target_task, vm_address_t address, vm_size_t size,
                      vm_offset_t* data, mach_msg_type_number_t* dataCnt) {
  return mach_vm_read(target_task, address, size, data, dataCnt);
}

kern_return_t vm_inherit(vm_map_t target_task, vm_address_t address, vm_size_t size,
                         vm_inherit_t new_inheritance) {
  return mach_vm_inherit(target_task, address, size, new_inheritance);
}

kern_return_t vm_read_list(vm_map_read_t target_task, vm_read_entry_t data_list, natural_t count) {
  return read_list(target_task, data_list, count);
}

kern_return_t vm_read_overwrite(vm_map_read_t target_task, vm_address_t address, vm_size_t size,
                                vm_address_t data, vm_size_t* outsize) {
  mach_vm_size_t done = 0;
  const kern_return_t result = mach_vm_read_overwrite(target_task, address, size, data, &done);
  if (result == KERN_SUCCESS) *outsize = done;
  return result;
}

kern_return_t vm_write(vm_map_t target_task, vm_address_t address, vm_offset_t data,
                       mach_msg_type_number_t dataCnt) {
  return mach_vm_write(target_task, address, data, dataCnt);
}

kern_return_t vm_copy(vm_map_t target_task, vm_address_t source_address, vm_size_t size,
                      vm_address_t dest_address) {
  return mach_vm_copy(target_task, source_address, size, dest_address);
}

}  // extern "C"
