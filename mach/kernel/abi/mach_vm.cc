// Implements mach_vm_*() and vm_*(), except those that map memory entries. All tasks of the process
// share its pages.
#include <mach/mach.h>
#include <mach/mach_vm.h>
#include <mach/vm_map.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/memory_map.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kernel = kedge::mach::kernel;
namespace address_space = kedge::mach::kernel::address_space;

namespace {

kern_return_t copy_bytes(mach_vm_address_t from, mach_vm_size_t size, mach_vm_address_t to) {
  kern_return_t bad = kernel::check_memory_access(from, size, PROT_READ);
  if (bad == KERN_SUCCESS) bad = kernel::check_memory_access(to, size, PROT_WRITE);
  if (bad == KERN_SUCCESS && size > 0) {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), size);
  }
  return bad;
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
  if ((static_cast<unsigned>(flags) & ~kernel::known_memory_flags) != 0)
    return KERN_INVALID_ARGUMENT;
  if (size == 0) {
    *address = 0;
    return KERN_SUCCESS;
  }
  if (flags & VM_FLAGS_ANYWHERE) return address_space::allocate(size, *address);
  const mach_vm_address_t start = mach_vm_trunc_page(*address), end = *address + size;
  if (end < *address || mach_vm_round_page(end) < end) return KERN_INVALID_ARGUMENT;
  if (start == 0) return KERN_INVALID_ADDRESS;
  const kern_return_t result =
      address_space::allocate_at(start, end - start, (flags & VM_FLAGS_OVERWRITE) != 0);
  if (result == KERN_SUCCESS) *address = start;
  return result;
}

kern_return_t mach_vm_deallocate(vm_map_t target, mach_vm_address_t address, mach_vm_size_t size) {
  const kern_return_t bad = kernel::check_memory_range(target, address, size);
  if (bad == KERN_SUCCESS && size > 0) address_space::deallocate(address, size);
  return bad;
}

kern_return_t mach_vm_protect(vm_map_t target_task, mach_vm_address_t address, mach_vm_size_t size,
                              boolean_t set_maximum, vm_prot_t new_protection) {
  const kern_return_t bad = kernel::check_memory_range(target_task, address, size);
  if (bad != KERN_SUCCESS) return bad;
  if (new_protection & ~(VM_PROT_ALL | VM_PROT_COPY)) return KERN_INVALID_ARGUMENT;
  if (size == 0) return KERN_SUCCESS;
  const mach_vm_address_t start = mach_vm_trunc_page(address);
  const mach_vm_size_t whole = mach_vm_round_page(address + size) - start;
  const int protection = new_protection & VM_PROT_ALL;
  // If a page of the range is not mapped, no protection changes.
  const kern_return_t hole = kernel::check_memory_access(start, whole, VM_PROT_NONE);
  if (hole != KERN_SUCCESS) return hole;
  return set_maximum ? limit_protection(start, whole, protection)
                     : protect(start, whole, protection);
}

kern_return_t mach_vm_read(vm_map_read_t target_task, mach_vm_address_t address,
                           mach_vm_size_t size, vm_offset_t* data,
                           mach_msg_type_number_t* dataCnt) {
  kern_return_t bad = kernel::check_memory_range(target_task, address, size);
  if (bad != KERN_SUCCESS) return bad;
  if (size > ~mach_msg_type_number_t{0}) return KERN_INVALID_ARGUMENT;
  kernel::user_address at = 0;
  if (size > 0) {
    bad = kernel::check_memory_access(address, size, PROT_READ);
    if (bad != KERN_SUCCESS) return bad;
    kernel::carried_memory memory;
    bad = kernel::own_memory().take(address, size, {true, false}, memory);
    if (bad == KERN_SUCCESS) bad = kernel::own_memory().give(memory, at);
    if (bad != KERN_SUCCESS) return bad;
  }
  *data = at;
  *dataCnt = static_cast<mach_msg_type_number_t>(size);
  return KERN_SUCCESS;
}

kern_return_t mach_vm_read_overwrite(vm_map_read_t target_task, mach_vm_address_t address,
                                     mach_vm_size_t size, mach_vm_address_t data,
                                     mach_vm_size_t* outsize) {
  kern_return_t bad = kernel::check_memory_range(target_task, address, size);
  if (bad == KERN_SUCCESS) bad = copy_bytes(address, size, data);
  if (bad == KERN_SUCCESS) *outsize = size;
  return bad;
}

kern_return_t mach_vm_write(vm_map_t target_task, mach_vm_address_t address, vm_offset_t data,
                            mach_msg_type_number_t dataCnt) {
  const kern_return_t bad = kernel::check_memory_range(target_task, address, dataCnt);
  if (bad != KERN_SUCCESS) return bad;
  // On Darwin the bytes are sent in a message, hence the code of a send.
  if (kernel::check_memory_access(data, dataCnt, PROT_READ) != KERN_SUCCESS)
    return MACH_SEND_INVALID_MEMORY;
  return copy_bytes(data, dataCnt, address);
}

kern_return_t mach_vm_copy(vm_map_t target_task, mach_vm_address_t source_address,
                           mach_vm_size_t size, mach_vm_address_t dest_address) {
  const kern_return_t bad = kernel::check_memory_range(target_task, source_address, size);
  return bad == KERN_SUCCESS ? copy_bytes(source_address, size, dest_address) : bad;
}

kern_return_t mach_vm_region(vm_map_read_t target_task, mach_vm_address_t* address,
                             mach_vm_size_t* size, vm_region_flavor_t flavor, vm_region_info_t info,
                             mach_msg_type_number_t* infoCnt, mach_port_t* object_name) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS) return bad;
  if ((flavor != VM_REGION_BASIC_INFO_64 && flavor != VM_REGION_BASIC_INFO) ||
      *infoCnt < VM_REGION_BASIC_INFO_COUNT_64) {
    return KERN_INVALID_ARGUMENT;
  }
  std::vector<kernel::mapping> found;
  try {
    found = kernel::mappings(*address, *address, true);
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
  if (found.empty()) return KERN_INVALID_ADDRESS;
  const kernel::mapping& region = found.front();
  vm_region_basic_info_data_64_t basic_info{};
  basic_info.protection = region.protection;
  basic_info.max_protection = VM_PROT_ALL;
  basic_info.inheritance = VM_INHERIT_DEFAULT;
  basic_info.shared = region.shared;
  basic_info.offset = region.offset;
  std::memcpy(info, &basic_info, sizeof basic_info);
  *infoCnt = VM_REGION_BASIC_INFO_COUNT_64;
  *address = region.start;
  *size = region.end - region.start;
  *object_name = MACH_PORT_NULL;
  return KERN_SUCCESS;
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
