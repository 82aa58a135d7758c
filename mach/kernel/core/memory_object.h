// memory_object: memory in transit from one task to another. The core holds it by reference, offset
// and length. Only the binding that took it from a caller (copyio) knows where the bytes are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/reference_count.h"

namespace kedge::mach::kernel {

class memory_object {
 public:
  memory_object(const memory_object&) = delete;
  memory_object& operator=(const memory_object&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  // Copies bytes of the object to kernel memory.
  virtual void read(std::uint64_t offset, void* to, std::size_t size) const noexcept = 0;

 protected:
  memory_object() = default;
  virtual ~memory_object() = default;

 private:
  reference_count references_;
};

// Bytes [offset, offset + size) of an object. Without an object there are no bytes.
struct carried_memory {
  ref<memory_object> object;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  // Its address in the address space that it was taken out of. 0: it was copied, or the address
  // does not matter.
  std::uint64_t origin = 0;
};

}  // namespace kedge::mach::kernel
