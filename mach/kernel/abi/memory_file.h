// memory_file: a file in memory, whose pages can be mapped several times.
//
// Reference-counted. Owns its descriptor. Threads: any, but keep() requires the lock of the address
// space.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/reference_count.h"

namespace kedge::mach::kernel {

class memory_file {
 public:
  // Makes a file of `size` zero bytes. Returns null if Linux refuses, or if this process has too
  // many such files already: each takes a descriptor that the program may need.
  static ref<memory_file> make(std::uint64_t size) noexcept;
  // Takes over an open descriptor, also if it fails. Returns null if there is no memory.
  static ref<memory_file> adopt(int descriptor) noexcept;
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  int descriptor() const noexcept { return descriptor_; }
  bool is_same(const memory_file& other) const noexcept { return is(other.device_, other.number_); }
  // Makes another descriptor for the file, owned by the caller. Returns -1 if Linux refuses.
  int open_again() const noexcept;
  bool is(dev_t device, ino_t number) const noexcept {
    return device == device_ && number == number_;
  }
  // Takes over a mapping of the file that is no longer used, and unmaps it when the file is
  // destroyed: unmapping many pages is slow, and can wait until then.
  void keep(void* at, std::size_t size) noexcept;
  // Writes all bytes. Returns false if Linux refuses, or if `from` cannot be read.
  bool write(std::uint64_t offset, const void* from, std::size_t size) noexcept;
  // Reads up to the end of the file.
  void read(std::uint64_t offset, void* to, std::size_t size) const noexcept;

 private:
  memory_file(int descriptor, dev_t device, ino_t number) noexcept
      : descriptor_(descriptor), device_(device), number_(number) {}
  ~memory_file();

  reference_count references_;
  const int descriptor_;
  const dev_t device_;
  const ino_t number_;
  struct range {
    void* at;
    std::size_t size;
  };
  std::vector<range> unused_;  // guarded by the lock of the address space
};

}  // namespace kedge::mach::kernel
