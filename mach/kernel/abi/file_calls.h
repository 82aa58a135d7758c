// open_to_read(), close_file() ...: file operations by bare system calls. The C library's functions
// are cancellation points, and no Mach call is one. Results and errno are those of the C library's
// functions.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace kedge::mach::kernel {

// Leaves errno alone: it closes files on the way out of a call that has already failed.
inline void close_file(int fd) noexcept {
  const int error = errno;
  syscall(SYS_close, fd);
  errno = error;
}
// The library's own fds are never 0, 1 or 2. A program may have closed these, and would otherwise
// write to its standard error and so to a file of the library.
inline int duplicate_file(int fd) noexcept {
  return static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}
// Moves an fd below 3, as made by a call that cannot be asked for another. Returns -1 with errno if
// `fd` is negative, or if no other fd is free.
inline int above_standard(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = duplicate_file(fd);
  close_file(fd);
  return moved;
}
inline int open_to_read(const char* path) noexcept {
  return above_standard(
      static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC)));
}
inline ssize_t read_file(int fd, void* to, std::size_t size) noexcept {
  return syscall(SYS_read, fd, to, size);
}
inline ssize_t read_file_at(int fd, void* to, std::size_t size, std::uint64_t offset) noexcept {
  return syscall(SYS_pread64, fd, to, size, offset);
}
inline ssize_t write_file_at(int fd, const void* from, std::size_t size,
                             std::uint64_t offset) noexcept {
  return syscall(SYS_pwrite64, fd, from, size, offset);
}

}  // namespace kedge::mach::kernel
