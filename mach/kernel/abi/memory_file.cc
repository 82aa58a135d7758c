// Implements memory_file with memfd_create().
#include "kedge/mach/kernel/abi/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <new>

#include "kedge/mach/kernel/abi/file_calls.h"

namespace kedge::mach::kernel {
namespace {

std::atomic<std::uint64_t> file_count{0};

// Returns true while files in memory take less than a quarter of the fds that the process
// may have. Returns false if RLIMIT_FSIZE limits the size of files: exceeding it raises a signal.
bool can_make_another() noexcept {
  rlimit fds{}, size{};
  return getrlimit(RLIMIT_NOFILE, &fds) == 0 && getrlimit(RLIMIT_FSIZE, &size) == 0 &&
         size.rlim_cur == RLIM_INFINITY &&
         file_count.load(std::memory_order_relaxed) < fds.rlim_cur / 4;
}

// Opens the file of an fd on its own, unlike a duplicate. Returns -1 if Linux refuses.
int open_fd_again(int fd) noexcept {
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", fd);
  return above_standard(
      static_cast<int>(syscall(SYS_openat, AT_FDCWD, path.data(), O_RDWR | O_CLOEXEC)));
}

}  // namespace

ref<memory_file> memory_file::make(std::uint64_t size) noexcept {
  if (!can_make_another()) return {};
  const int fd = above_standard(memfd_create("mach", MFD_CLOEXEC));
  if (fd < 0) return {};
  if (ftruncate(fd, static_cast<off_t>(size)) == 0) return adopt(fd);
  close_file(fd);
  return {};
}

ref<memory_file> memory_file::adopt(int fd) noexcept {
  struct stat is{};
  memory_file* made = nullptr;
  if (fstat(fd, &is) == 0) {
    made = new (std::nothrow) memory_file(fd, is.st_dev, is.st_ino);
  }
  if (!made) {
    close_file(fd);
    return {};
  }
  file_count.fetch_add(1, std::memory_order_relaxed);
  return ref<memory_file>::adopt(made);
}

memory_file::~memory_file() {
  for (const range& each : unused_) munmap(each.at, each.size);
  close_file(fd_);
  file_count.fetch_sub(1, std::memory_order_relaxed);
}

int memory_file::open_held() const noexcept {
  const int fd = open_fd_again(fd_);
  if (fd < 0) return -1;
  struct flock whole{};
  whole.l_type = F_RDLCK;
  whole.l_whence = SEEK_SET;
  if (syscall(SYS_fcntl, fd, F_OFD_SETLK, &whole) == 0) return fd;
  close_file(fd);
  return -1;
}

ref<memory_file> memory_file::hold() const noexcept {
  const int fd = open_held();
  return fd < 0 ? ref<memory_file>{} : adopt(fd);
}

ref<memory_file> memory_file::open_again() const noexcept {
  const int fd = open_fd_again(fd_);
  return fd < 0 ? ref<memory_file>{} : adopt(fd);
}

bool memory_file::is_held() const noexcept {
  struct flock other{};
  other.l_type = F_WRLCK;
  other.l_whence = SEEK_SET;
  return syscall(SYS_fcntl, fd_, F_OFD_GETLK, &other) != 0 || other.l_type != F_UNLCK;
}

void memory_file::keep(void* at, std::size_t size) noexcept {
  try {
    unused_.push_back({at, size});
  } catch (const std::bad_alloc&) {
    munmap(at, size);
  }
}

bool memory_file::write(std::uint64_t offset, const void* from, std::size_t size) noexcept {
  const auto* at = static_cast<const std::byte*>(from);
  while (size > 0) {
    const ssize_t done = write_file_at(fd_, at, size, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    at += done;
    offset += static_cast<std::uint64_t>(done);
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

void memory_file::read(std::uint64_t offset, void* to, std::size_t size) const noexcept {
  auto* at = static_cast<std::byte*>(to);
  while (size > 0) {
    const ssize_t done = read_file_at(fd_, at, size, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return;
    at += done;
    offset += static_cast<std::uint64_t>(done);
    size -= static_cast<std::size_t>(done);
  }
}

}  // namespace kedge::mach::kernel
