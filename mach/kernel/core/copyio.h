// copyio: the kernel's only access to a caller's memory. Addresses are numbers in the caller's
// address space.
#pragma once

#include <mach/kern_return.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kedge/mach/kernel/core/memory_object.h"

namespace kedge::mach::kernel {

using user_address = std::uint64_t;

// Memory of at most this many bytes passes through a buffer of the kernel, however it is sent. It
// arrives at the start of a page, and memory that cannot be accessed is KERN_INVALID_ADDRESS
// (Darwin: msg_ool_size_small, KHEAP_MAX_SIZE; vm_map_copyin_internal).
#if defined(__x86_64__)
inline constexpr std::uint64_t max_buffered_copy = 16u * 1024;
#else
inline constexpr std::uint64_t max_buffered_copy = 32u * 1024;
#endif

// How out-of-line memory is taken from its sender.
struct ool_transfer_mode {
  bool keeps_offset = false;  // arrives at the same offset in its page
  bool deallocates = false;   // the sender loses all pages that the memory lies in
};

class copyio {
 public:
  // Each returns false if the caller has no such memory. The null address is never readable or
  // writable, in no implementation.
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

  // The same as in(), for an address that is not trusted: returns false, without a fault, if any of
  // the bytes cannot be read.
  virtual bool in_checked(user_address from, void* to, std::size_t size) noexcept = 0;

  // Takes [from, from + size) as it is now. `size` is not 0. KERN_RESOURCE_SHORTAGE.
  // KERN_INVALID_ADDRESS: some of the bytes cannot be read, and nothing is deallocated.
  virtual kern_return_t take(user_address from, std::uint64_t size, ool_transfer_mode mode,
                             carried_memory& taken) noexcept = 0;
  // Maps memory into the caller's address space and writes its address to `address`. After this
  // call the caller owns the whole pages that the memory lies in, and deallocates them. The memory
  // is mapped at `given.origin` if there is room; only memory that comes from this address space
  // may have one. KERN_NO_SPACE, KERN_RESOURCE_SHORTAGE: `given` is unchanged.
  virtual kern_return_t give(carried_memory& given, user_address& address) noexcept = 0;

  // Maps zeroed pages into the caller's address space. KERN_NO_SPACE.
  virtual kern_return_t allocate(std::uint64_t size, user_address& address) noexcept = 0;
  // Releases the pages that [address, address + size) lies in.
  virtual void deallocate(user_address address, std::uint64_t size) noexcept = 0;

 protected:
  // `direct`: caller and kernel share an address space, so that a copy is a memcpy. A bad address
  // then does what it does in any C program.
  explicit constexpr copyio(bool direct) noexcept : direct_(direct) {}
  ~copyio() = default;

  virtual bool copy_in(user_address from, void* to, std::size_t size) noexcept = 0;
  virtual bool copy_out(const void* from, user_address to, std::size_t size) noexcept = 0;

 private:
  const bool direct_;
};

// The memory of this process, for a caller and a kernel in it. Defined in abi, which manages the
// memory of the process.
extern copyio& memory_of_this_process;
inline copyio& own_memory() noexcept {
  return memory_of_this_process;
}

}  // namespace kedge::mach::kernel
