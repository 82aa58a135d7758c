// Implements mach_make_memory_entry_64() and mach_make_memory_entry() as XNU's vm_memory_entry.c
// does.
#include <mach/mach.h>
#include <mach/mach_vm.h>

#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/entry_port.h"
#include "kedge/mach/kernel/abi/map_again.h"

namespace kernel = kedge::mach::kernel;
namespace address_space = kedge::mach::kernel::address_space;
using kernel::named_memory;
using kernel::port_kind;

namespace {

// The largest piece of new memory that one entry stands for: as many pages as 32 bits can count
// (Darwin: ANON_MAX_SIZE).
mach_vm_size_t max_entry_size() noexcept {
  return mach_vm_size_t{0xffffffff} << vm_page_shift;
}

// A call of mach_make_memory_entry_64. Each make_*() sets `made`, or fails.
class entry_request {
 public:
  entry_request(memory_object_offset_t offset, memory_object_size_t size,
                vm_prot_t permission) noexcept
      : offset_(offset), size_(size), flags_(permission) {
    made.permission = permission & VM_PROT_ALL;
  }

  named_memory made;

  // An entry that stands for new pages. A size of 0 succeeds and makes none.
  kern_return_t make_fresh() {
    if (size_ == 0) return KERN_SUCCESS;
    const kern_return_t bad = measure();
    if (bad != KERN_SUCCESS) return bad;
    if (uses_data_address()) return KERN_INVALID_ARGUMENT;
    if (whole_ > max_entry_size()) return KERN_FAILURE;
    if (has(MAP_MEM_PURGABLE) && !has(VM_PROT_WRITE)) return KERN_INVALID_ARGUMENT;
    made.file = kernel::memory_file::make(whole_);
    made.size = whole_;
    return made.file ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
  }

  // An entry that stands for a copy of the range, with any permission.
  kern_return_t make_copy() {
    if (size_ == 0) return KERN_INVALID_ARGUMENT;
    kern_return_t bad = measure();
    if (bad == KERN_SUCCESS) bad = kernel::check_memory_access(start_, whole_, VM_PROT_READ);
    if (bad != KERN_SUCCESS) return bad;
    made.file = kernel::memory_file::make(whole_);
    if (!made.file) return KERN_RESOURCE_SHORTAGE;
    if (!made.file->write(0, reinterpret_cast<const void*>(start_), whole_)) {
      return KERN_INVALID_ADDRESS;
    }
    made.size = whole_;
    made.data_offset = data_offset(start_);
    made.is_whole = true;
    return KERN_SUCCESS;
  }

  // An entry that stands for the range itself.
  kern_return_t make_shared() {
    if (size_ == 0) return KERN_INVALID_ARGUMENT;
    kern_return_t bad = measure();
    if (bad == KERN_SUCCESS) bad = restrict_to_access();
    if (bad == KERN_SUCCESS) {
      // Without MAP_MEM_VM_SHARE the entry ends where the pages of another file begin, as Darwin's
      // ends with the first object (vmkf_copy_single_object).
      made.size = whole_;
      bad =
          has(MAP_MEM_VM_SHARE)
              ? address_space::make_common(start_, whole_, made.file, made.offset)
              : address_space::make_first_common(start_, whole_, made.file, made.offset, made.size);
    }
    if (bad != KERN_SUCCESS) return bad;
    made.data_offset = data_offset(start_);
    made.is_whole = has(MAP_MEM_VM_SHARE);
    return KERN_SUCCESS;
  }

  // An entry that stands for a part of another.
  kern_return_t make_part(const named_memory& parent) {
    if (uses_data_address()) {
      offset_ += parent.data_offset;
      if (offset_ < parent.data_offset) return KERN_INVALID_ARGUMENT;
    }
    if (size_ != 0 && kernel::wraps_around(offset_, size_)) return KERN_INVALID_ARGUMENT;
    start_ = mach_vm_trunc_page(offset_);
    // The rounding alone can wrap around if the size is 0.
    const mach_vm_address_t end = mach_vm_round_page(offset_ + size_);
    if (end < start_ || end > parent.size) return KERN_INVALID_ARGUMENT;
    whole_ = end - start_;
    if (has(VM_PROT_IS_MASK)) made.permission &= parent.permission;
    if (made.permission & ~parent.permission) return KERN_PROTECTION_FAILURE;
    made.file = parent.file;
    made.offset = parent.offset + start_;
    made.size = whole_;
    made.data_offset = data_offset(start_);
    return KERN_SUCCESS;
  }

  // Returns true if the caller accepts the parent entry in place of the one that was made.
  bool can_reuse(const named_memory& parent) const noexcept {
    return has(MAP_MEM_NAMED_REUSE) && !has(MAP_MEM_VM_SHARE) && made.file->is_same(*parent.file) &&
           made.offset == parent.offset && made.size == parent.size &&
           made.data_offset == parent.data_offset;
  }

 private:
  bool has(vm_prot_t flag) const noexcept { return (flags_ & flag) != 0; }
  bool uses_data_address() const noexcept {
    return has(MAP_MEM_USE_DATA_ADDR | MAP_MEM_4K_DATA_ADDR);
  }

  // Rounds the range to pages.
  kern_return_t measure() noexcept {
    if (kernel::wraps_around(offset_, size_)) return KERN_INVALID_ARGUMENT;
    start_ = mach_vm_trunc_page(offset_);
    whole_ = mach_vm_round_page(offset_ + size_) - start_;
    return KERN_SUCCESS;
  }

  std::uint32_t data_offset(mach_vm_address_t start) const noexcept {
    if (!uses_data_address()) return 0;
    const auto offset = static_cast<std::uint32_t>(offset_ - start);
    return has(MAP_MEM_4K_DATA_ADDR) ? offset & ~0xFFFu : offset;
  }

  // Checks the permission against the range's protection. With VM_PROT_IS_MASK the permission
  // becomes what the first page allows of it.
  kern_return_t restrict_to_access() {
    if (!has(VM_PROT_IS_MASK)) {
      return kernel::check_memory_access(start_, whole_, made.permission);
    }
    const kern_return_t hole = kernel::check_memory_access(start_, whole_, VM_PROT_NONE);
    if (hole != KERN_SUCCESS) return hole;
    made.permission &= kernel::protection_of(start_);
    return made.permission != VM_PROT_NONE ? KERN_SUCCESS : KERN_PROTECTION_FAILURE;
  }

  memory_object_offset_t offset_;
  const memory_object_size_t size_;
  const vm_prot_t flags_;
  mach_vm_address_t start_ = 0;
  mach_vm_size_t whole_ = 0;
};

// MAP_MEM_ONLY: makes no entry, and this kernel has no caches to change.
kern_return_t change_caching(vm_prot_t permission, port_kind kind, const named_memory& parent) {
  const bool is_object = kind == port_kind::entry && !parent.is_whole;
  if (!is_object || (permission & (MAP_MEM_USE_DATA_ADDR | MAP_MEM_4K_DATA_ADDR)) != 0) {
    return KERN_INVALID_ARGUMENT;
  }
  const bool changes = GET_MAP_MEM(permission) != MAP_MEM_NOOP;
  return changes && !(parent.permission & VM_PROT_WRITE) ? KERN_INVALID_RIGHT : KERN_SUCCESS;
}

}  // namespace

extern "C" {

kern_return_t mach_make_memory_entry_64(vm_map_t target_task, memory_object_size_t* size,
                                        memory_object_offset_t offset, vm_prot_t permission,
                                        mach_port_t* object_handle,
                                        mem_entry_name_port_t parent_entry) {
  const kern_return_t no_task = kernel::check_memory_task(target_task);
  if (no_task == MACH_SEND_INVALID_DEST) return no_task;
  named_memory parent;
  port_kind kind = port_kind::none;
  kern_return_t result = kernel::open_entry(parent_entry, kind, parent);
  if (result != KERN_SUCCESS) return result;
  if (permission & MAP_MEM_FLAGS_MASK & ~MAP_MEM_FLAGS_USER) return KERN_INVALID_VALUE;
  if (kind == port_kind::entry && parent.is_whole) return KERN_INVALID_ARGUMENT;
  if (permission & MAP_MEM_ONLY) {
    result = change_caching(permission, kind, parent);
    if (result == KERN_SUCCESS) *object_handle = MACH_PORT_NULL;
    return result;
  }

  entry_request request(offset, *size, permission);
  const bool is_part =
      kind == port_kind::entry && (permission & (MAP_MEM_VM_SHARE | MAP_MEM_NAMED_REUSE)) == 0;
  if (permission & MAP_MEM_NAMED_CREATE) {
    result = request.make_fresh();
  } else if (is_part && !(permission & MAP_MEM_VM_COPY)) {
    result = request.make_part(parent);
  } else if (no_task != KERN_SUCCESS) {
    result = *size == 0 ? KERN_INVALID_ARGUMENT : KERN_INVALID_TASK;
  } else if (permission & MAP_MEM_VM_COPY) {
    result = request.make_copy();
  } else {
    result = request.make_shared();
  }
  if (result != KERN_SUCCESS) return result;

  mach_port_t name = MACH_PORT_NULL;
  const named_memory& made = request.made;
  if (made.file && kind == port_kind::entry && request.can_reuse(parent)) {
    result = mach_port_mod_refs(mach_task_self(), parent_entry, MACH_PORT_RIGHT_SEND, 1);
    name = parent_entry;
  } else if (made.file) {
    result = kernel::name_entry(made, &name);
  }
  if (result != KERN_SUCCESS) return result;
  *size = made.size - made.data_offset;
  *object_handle = name;
  return KERN_SUCCESS;
}

kern_return_t mach_make_memory_entry(vm_map_t target_task, vm_size_t* size, vm_offset_t offset,
                                     vm_prot_t permission, mem_entry_name_port_t* object_handle,
                                     mem_entry_name_port_t parent_entry) {
  memory_object_size_t length = *size;
  const kern_return_t result = mach_make_memory_entry_64(target_task, &length, offset, permission,
                                                         object_handle, parent_entry);
  if (result == KERN_SUCCESS) *size = length;
  return result;
}

}  // extern "C"
