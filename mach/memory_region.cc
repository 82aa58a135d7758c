// Implements memory_region with vm_allocate(), vm_copy(), vm_deallocate(), and for shared memory
// mach_make_memory_entry_64() and vm_map().
#include "kedge/mach/memory_region.h"

#include <mach/mach.h>
#include <mach/vm_map.h>
#include <mach/vm_page_size.h>

#include <algorithm>
#include <cstring>

#include "kedge/mach/error.h"
#include "kedge/mach/port_reference.h"

namespace kedge::mach {
namespace {

vm_address_t address_of(const std::byte* begin) noexcept {
  return reinterpret_cast<vm_address_t>(begin);
}

constexpr vm_prot_t protection_of(memory_access access) noexcept {
  return access == memory_access::read_only ? VM_PROT_READ : VM_PROT_READ | VM_PROT_WRITE;
}

}  // namespace

memory_region memory_region::make(std::size_t size) {
  if (size == 0) return {};
  vm_address_t address = 0;
  check(vm_allocate(mach_task_self(), &address, size, VM_FLAGS_ANYWHERE), "vm_allocate");
  return memory_region(reinterpret_cast<std::byte*>(address), size);
}

memory_region memory_region::copy_of(std::span<const std::byte> bytes) {
  memory_region made = make(bytes.size());
  if (!bytes.empty()) std::memcpy(made.begin_, bytes.data(), bytes.size());
  return made;
}

memory_region memory_region::copy() const {
  memory_region made = make(size_);
  if (made) {
    check(vm_copy(mach_task_self(), address_of(begin_), size_, address_of(made.begin_)), "vm_copy");
  }
  return made;
}

memory_region memory_region::map(const send_right& entry, std::size_t size, memory_access access) {
  if (size == 0) return {};
  if (!entry) check(KERN_INVALID_ARGUMENT, "kedge::mach::memory_region::map: an empty right");
  const vm_prot_t protection = protection_of(access);
  // An entry of a stranger may be larger than `size` and be mapped as a whole all the same. A part
  // of it is as large as it was asked for.
  port_reference part;
  memory_object_size_t length = size;
  check(
      mach_make_memory_entry_64(mach_task_self(), &length, 0, protection, part.out(), entry.name()),
      "mach_make_memory_entry_64");
  vm_address_t address = 0;
  check(vm_map(mach_task_self(), &address, size, 0, VM_FLAGS_ANYWHERE, part.name(), 0, /*copy=*/0,
               protection, protection, VM_INHERIT_SHARE),
        "vm_map");
  return memory_region(reinterpret_cast<std::byte*>(address), size);
}

send_right memory_region::share(memory_access access, const place& where) {
  const vm_address_t begin = address_of(begin_);
  const char* const what = "kedge::mach::memory_region::share";
  if (size_ == 0 || begin != trunc_page(begin)) check(KERN_INVALID_ARGUMENT, what);
  port_reference made;
  memory_object_size_t length = size_;
  check(mach_make_memory_entry_64(mach_task_self(), &length, begin, protection_of(access),
                                  made.out(), MACH_PORT_NULL),
        "mach_make_memory_entry_64");
  if (length < size_) check(KERN_INVALID_ARGUMENT, what);
  return std::move(made).to_send_right(where);
}

void memory_region::resize(std::size_t size) {
  if (size == 0) return clear();
  if (begin_ == nullptr) {
    *this = make(size);
    return;
  }
  const vm_address_t begin = address_of(begin_);
  const vm_address_t end = round_page(begin + size_);  // of the pages
  if (size <= size_) {
    const vm_address_t new_end = round_page(begin + size);
    if (new_end != end) vm_deallocate(mach_task_self(), new_end, end - new_end);
    size_ = size;
    return;
  }
  const std::size_t in_page = std::min<std::size_t>(size, end - begin) - size_;
  if (size > end - begin && !extend(end, size - (end - begin))) {
    memory_region larger = make(size);
    check(vm_copy(mach_task_self(), begin, size_, address_of(larger.begin_)), "vm_copy");
    *this = std::move(larger);
    return;
  }
  std::memset(begin_ + size_, 0, in_page);
  size_ = size;
}

// Allocates `more` bytes at `end`, which is the end of the last page. Returns false if the address
// is in use.
bool memory_region::extend(std::uintptr_t end, std::size_t more) noexcept {
  vm_address_t address = end;
  return vm_allocate(mach_task_self(), &address, more, VM_FLAGS_FIXED) == KERN_SUCCESS;
}

void memory_region::clear() noexcept {
  if (begin_ != nullptr) vm_deallocate(mach_task_self(), address_of(begin_), size_);
  begin_ = nullptr;
  size_ = 0;
}

}  // namespace kedge::mach
