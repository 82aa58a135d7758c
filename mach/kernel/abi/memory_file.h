// memory_file: a file in memory, whose pages can be mapped several times.
//
// Reference-counted. Owns its fd. Threads: any, but keep() requires the lock of the address
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
  // many such files already: each takes an fd that the program may need.
  static ref<memory_file> make(std::uint64_t size) noexcept;
  // Takes over an open fd, also if it fails. Returns null if there is no memory.
  static ref<memory_file> adopt(int fd) noexcept;
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  int fd() const noexcept { return fd_; }
  bool is_same(const memory_file& other) const noexcept { return is(other.device_, other.number_); }
  // A file is held while a memory entry of it exists, or while a call is about to map it: nothing
  // may freeze the file then. Linux keeps count: each holder has opened the file on its own, with a
  // lock on it (F_OFD_SETLK), and is gone when all fds of that opening are closed.
  //
  // Makes another fd for the file that holds it, owned by the caller. Returns -1 if Linux refuses.
  int open_held() const noexcept;
  // The same as an object. Returns null if Linux refuses.
  ref<memory_file> hold() const noexcept;
  // Opens the file without holding it, for a mapping.
  ref<memory_file> open_again() const noexcept;
  // Returns true if another opening than this one holds the file.
  bool is_held() const noexcept;
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
  memory_file(int fd, dev_t device, ino_t number) noexcept
      : fd_(fd), device_(device), number_(number) {}
  ~memory_file();

  reference_count references_;
  const int fd_;
  const dev_t device_;
  const ino_t number_;
  struct range {
    void* at;
    std::size_t size;
  };
  std::vector<range> unused_;  // guarded by the lock of the address space
};

}  // namespace kedge::mach::kernel
