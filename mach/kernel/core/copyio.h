// The kernel's only way to a caller's memory. Addresses are plain numbers of the caller's address
// space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kedge::mach::kernel {

using user_address = std::uint64_t;

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

 protected:
  // `direct`: caller and kernel share an address space, so that a copy is a memcpy. What a bad
  // address does then is what it does in any C program.
  explicit copyio(bool direct) noexcept : direct_(direct) {}
  ~copyio() = default;

  virtual bool copy_in(user_address from, void* to, std::size_t size) noexcept = 0;
  virtual bool copy_out(const void* from, user_address to, std::size_t size) noexcept = 0;

 private:
  const bool direct_;
};

// Caller and kernel in one process.
class own_memory final : public copyio {
 public:
  own_memory() noexcept : copyio(true) {}

 private:
  bool copy_in(user_address, void*, std::size_t) noexcept override { return false; }
  bool copy_out(const void*, user_address, std::size_t) noexcept override { return false; }
};

}  // namespace kedge::mach::kernel
