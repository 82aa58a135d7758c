// Implements memory_region with vm_allocate(), vm_copy() and vm_deallocate().
#include "kedge/mach/memory_region.h"

#include <mach/mach.h>
#include <mach/vm_map.h>

#include <cstring>

#include "kedge/mach/error.h"

namespace kedge::mach {
namespace {

vm_address_t address_of(const std::byte* begin) noexcept {
  return reinterpret_cast<vm_address_t>(begin);
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

void memory_region::clear() noexcept {
  if (begin_ != nullptr) vm_deallocate(mach_task_self(), address_of(begin_), size_);
  begin_ = nullptr;
  size_ = 0;
}

}  // namespace kedge::mach
