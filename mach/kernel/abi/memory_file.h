// A file in memory, which pages can be mapped from more than once.
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
  // Full of zeros. Null: the system gives none, or this process has as many as is good for it; they
  // take descriptors from the program.
  static ref<memory_file> make(std::uint64_t size) noexcept;
  // One that is open already; the descriptor goes with it, and with a failure. Null: no memory.
  static ref<memory_file> adopt(int descriptor) noexcept;
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  int descriptor() const noexcept { return descriptor_; }
  // Another descriptor for it, the caller's. -1: there is none.
  int open_again() const noexcept;
  bool is(dev_t device, ino_t number) const noexcept {
    return device == device_ && number == number_;
  }
  // A mapping of it that nobody uses any more, and that goes with it: to take many pages out of a
  // mapping is dear, and may as well be done then.
  void keep(void* at, std::size_t size) noexcept;
  bool write(std::uint64_t offset, const void* from, std::size_t size) noexcept;
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
  std::vector<range> unused_;  // guarded by the lock of whoever maps the file
};

}  // namespace kedge::mach::kernel
