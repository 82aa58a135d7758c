// The kernel's only way to a caller's memory. Addresses are plain numbers of the caller's address
// space.
#pragma once

#include <mach/kern_return.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kedge/mach/kernel/core/memory_object.h"

namespace kedge::mach::kernel {

using user_address = std::uint64_t;

// How a sender parts with memory out of line.
struct taking {
  bool keeps_offset = false;  // arrives as far into a page as it was (a virtual copy)
  bool deallocates = false;   // the sender's whole pages go
};

class copyio {
 public:
  // False: the caller has no such memory. The null address is never readable or writable, whoever
  // copies.
  bool in(user_address from, void* to, std::size_t size) noexcept {
    if (from == 0 || size == 0) [[unlikely]]
      return size == 0;
    if (!direct_) return copy_in(from, to, size);
    std::memcpy(to, reinterpret_cast<const void*>(from), size);
    return true;
  }
  bool out(const void* from, user_address to, std::size_t size) noexcept {
    if (to == 0 || size == 0) [[unlikely]]
      return size == 0;
    if (!direct_) return copy_out(from, to, size);
    std::memcpy(reinterpret_cast<void*>(to), from, size);
    return true;
  }

  // The same as in(), of an address that anybody may have made up: false, and no fault, if any of
  // it cannot be read.
  virtual bool in_checked(user_address from, void* to, std::size_t size) noexcept = 0;

  // Takes [from, from + size) as it is now. KERN_INVALID_ADDRESS (some of it cannot be read; then
  // nothing is deallocated), KERN_RESOURCE_SHORTAGE. `size` is not 0.
  virtual kern_return_t take(user_address from, std::uint64_t size, taking how,
                             carried_memory& taken) noexcept = 0;
  // Puts memory into the caller's address space; what was given is the caller's from then on, whole
  // pages of it, to be deallocated. It stands at its origin again if there is room; that is to be
  // asked only of the space that it came from. KERN_NO_SPACE, KERN_RESOURCE_SHORTAGE: `given` stays
  // as it is.
  virtual kern_return_t give(carried_memory& given, user_address& at) noexcept = 0;

  // Fresh pages of the caller's, full of zeros. KERN_NO_SPACE.
  virtual kern_return_t allocate(std::uint64_t size, user_address& at) noexcept = 0;
  // Releases the pages that [at, at + size) lies in.
  virtual void deallocate(user_address at, std::uint64_t size) noexcept = 0;

 protected:
  // `direct`: caller and kernel share an address space, so that a copy is a memcpy. What a bad
  // address does then is what it does in any C program.
  explicit constexpr copyio(bool direct) noexcept : direct_(direct) {}
  ~copyio() = default;

  virtual bool copy_in(user_address from, void* to, std::size_t size) noexcept = 0;
  virtual bool copy_out(const void* from, user_address to, std::size_t size) noexcept = 0;

 private:
  const bool direct_;
};

// The memory of this process, for a caller and a kernel in it. Defined where the process's memory
// is looked after (abi).
extern copyio& memory_of_this_process;
inline copyio& own_memory() noexcept {
  return memory_of_this_process;
}

}  // namespace kedge::mach::kernel
