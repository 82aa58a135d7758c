// Implements mach_make_memory_entry_64(), mach_vm_map(), mach_vm_remap(), vm_map() and vm_remap().
#include <mach/mach.h>
#include <mach/mach_vm.h>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/abi/file_calls.h"
#include "kedge/mach/kernel/abi/memory_file.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kernel = kedge::mach::kernel;
namespace address_space = kedge::mach::kernel::address_space;
using kernel::call;
namespace requests = kedge::mach::kernel::requests;

namespace {

struct entry {
  kernel::ref<kernel::memory_file> file;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  vm_prot_t permission = VM_PROT_NONE;
};

kern_return_t open_entry(mem_entry_name_port_t name, entry& found) {
  const auto range = call(requests::memory_entry_range{name});
  if (range.result != KERN_SUCCESS) return range.result;
  kernel::attachment file;
  const auto opened = call(requests::memory_entry_open{name}, mach_task_self(), &file);
  if (opened.result != KERN_SUCCESS) return opened.result;
  if (!file) return KERN_RESOURCE_SHORTAGE;
  found = {kernel::memory_file::adopt(file.release()), range.fields.offset, range.fields.size,
           opened.fields.permission};
  return found.file ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

kern_return_t name_entry(const entry& made, mach_port_t* name) {
  const int descriptor = made.file->open_again();
  if (descriptor < 0) return KERN_RESOURCE_SHORTAGE;
  kernel::attachment file(descriptor, kernel::close_file);
  return store(call(
                   requests::memory_entry_make{
                       .offset = made.offset, .size = made.size, .permission = made.permission},
                   mach_task_self(), &file),
               &kernel::replies::memory_entry_make::name, name);
}

bool place_of(int flags, mach_vm_address_t address, mach_vm_offset_t mask,
              address_space::place& where) {
  if (static_cast<unsigned>(flags) & ~kernel::known_memory_flags) return false;
  if ((mask & (mask + 1)) != 0) return false;
  where = {(flags & VM_FLAGS_ANYWHERE) != 0, (flags & VM_FLAGS_OVERWRITE) != 0,
           mach_vm_trunc_page(address), mask};
  return where.anywhere || where.at != 0;
}

kern_return_t map_entry(const entry& from, memory_object_offset_t offset, mach_vm_size_t size,
                        bool copy, const address_space::place& where, int protection,
                        kernel::user_address& at) {
  if (!copy) {
    return address_space::map_common(from.file, from.offset + offset, size, where, protection, at);
  }
  const kern_return_t found = address_space::find_room(where, size, at);
  if (found != KERN_SUCCESS) return found;
  from.file->read(from.offset + offset, reinterpret_cast<void*>(at), size);
  return mach_vm_protect(mach_task_self(), at, size, 0, protection);
}

}  // namespace

extern "C" {

kern_return_t mach_make_memory_entry_64(vm_map_t target_task, memory_object_size_t* size,
                                        memory_object_offset_t offset, vm_prot_t permission,
                                        mach_port_t* object_handle,
                                        mem_entry_name_port_t parent_entry) {
  kern_return_t result = kernel::check_memory_range(target_task, offset, *size);
  if (result != KERN_SUCCESS) return result;
  const vm_prot_t access = permission & VM_PROT_ALL;
  if (*size == 0 || (permission & ~(VM_PROT_ALL | MAP_MEM_NAMED_CREATE)) != 0) {
    return KERN_INVALID_ARGUMENT;
  }
  entry made;
  const memory_object_offset_t start = mach_vm_trunc_page(offset);
  const memory_object_size_t whole = mach_vm_round_page(offset + *size) - start;
  if (permission & MAP_MEM_NAMED_CREATE) {
    made.file = kernel::memory_file::make(mach_vm_round_page(*size));
    made.size = mach_vm_round_page(*size);
    if (!made.file) return KERN_RESOURCE_SHORTAGE;
  } else if (parent_entry != MACH_PORT_NULL) {
    result = open_entry(parent_entry, made);
    if (result != KERN_SUCCESS) return result;
    if (start + whole > made.size) return KERN_INVALID_ARGUMENT;
    if (access & ~made.permission) return KERN_PROTECTION_FAILURE;
    made.offset += start;
    made.size = whole;
  } else {
    result = kernel::check_memory_access(start, whole, access);
    if (result != KERN_SUCCESS) return result;
    result = address_space::make_common(start, whole, made.file, made.offset);
    if (result != KERN_SUCCESS) return result;
    made.size = whole;
  }
  made.permission = access;
  result = name_entry(made, object_handle);
  if (result == KERN_SUCCESS) *size = made.size;
  return result;
}

kern_return_t mach_vm_map(vm_map_t target_task, mach_vm_address_t* address, mach_vm_size_t size,
                          mach_vm_offset_t mask, int flags, mem_entry_name_port_t object,
                          memory_object_offset_t offset, boolean_t copy, vm_prot_t cur_protection,
                          vm_prot_t max_protection, vm_inherit_t inheritance) {
  kern_return_t result = kernel::check_memory_range(target_task, offset, size);
  if (result != KERN_SUCCESS) return result;
  address_space::place where;
  if (size == 0 || !place_of(flags, *address, mask, where) ||
      ((cur_protection | max_protection) & ~VM_PROT_ALL) != 0 ||
      inheritance > VM_INHERIT_LAST_VALID) {
    return KERN_INVALID_ARGUMENT;
  }
  kernel::user_address at = 0;
  if (object == MACH_PORT_NULL) {
    const bool plain = where.anywhere && mask <= vm_page_mask;
    result = plain ? address_space::allocate(size, at) : address_space::find_room(where, size, at);
    if (result == KERN_SUCCESS && cur_protection != VM_PROT_DEFAULT) {
      result = mach_vm_protect(mach_task_self(), at, size, 0, cur_protection);
    }
  } else {
    entry from;
    result = open_entry(object, from);
    if (result != KERN_SUCCESS) return result;
    if (!copy && ((cur_protection | max_protection) & ~from.permission) != 0) {
      return KERN_INVALID_RIGHT;
    }
    if (offset > from.size || mach_vm_round_page(size) > from.size - offset ||
        offset % vm_page_size != 0) {
      return KERN_INVALID_ARGUMENT;
    }
    result = map_entry(from, offset, size, copy != 0, where, cur_protection, at);
  }
  if (result == KERN_SUCCESS) *address = at;
  return result;
}

kern_return_t mach_vm_remap(vm_map_t target_task, mach_vm_address_t* target_address,
                            mach_vm_size_t size, mach_vm_offset_t mask, int flags,
                            vm_map_t src_task, mach_vm_address_t src_address, boolean_t copy,
                            vm_prot_t* cur_protection, vm_prot_t* max_protection,
                            vm_inherit_t inheritance) {
  kern_return_t result = kernel::check_memory_range(target_task, 0, size);
  if (result == KERN_SUCCESS) {
    result = kernel::check_memory_range(src_task, src_address, size);
  }
  if (result != KERN_SUCCESS) return result;
  address_space::place where;
  if (size == 0 || !place_of(flags, *target_address, mask, where) ||
      inheritance > VM_INHERIT_LAST_VALID) {
    return KERN_INVALID_ARGUMENT;
  }
  const mach_vm_address_t start = mach_vm_trunc_page(src_address);
  const mach_vm_size_t whole = mach_vm_round_page(src_address + size) - start;
  result = kernel::check_memory_access(start, whole, VM_PROT_READ);
  if (result != KERN_SUCCESS) return result;
  const vm_prot_t protection = kernel::protection_of(start);
  kernel::user_address at = 0;
  if (copy) {
    result = address_space::find_room(where, whole, at);
    if (result == KERN_SUCCESS) result = mach_vm_copy(mach_task_self(), start, whole, at);
    if (result == KERN_SUCCESS) {
      result = mach_vm_protect(mach_task_self(), at, whole, 0, protection);
    }
  } else {
    entry from;
    result = address_space::make_common(start, whole, from.file, from.offset);
    if (result != KERN_SUCCESS) return result;
    result = address_space::map_common(from.file, from.offset, whole, where, protection, at);
  }
  if (result != KERN_SUCCESS) return result;
  *target_address = at;
  *cur_protection = protection;
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
