// Notes the kqueues' own descriptors, and closes them in the child of a fork.
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"

namespace kedge::kqueue {

constinit base::mutex internal_fds::lock_{};
constinit fd_table<bool> internal_fds::noted_{};

bool internal_fds::note(int fd) noexcept {
  std::atomic<bool>* const place = noted_.make(fd);
  if (place != nullptr) place->store(true, std::memory_order_relaxed);
  return place != nullptr;
}

// Not by fcntl() of this library, which would come back here for the duplicate of a kqueue's fd.
int internal_fds::above_standard(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  close_raw(fd);
  return moved;
}

void internal_fds::forget(int fd) noexcept {
  std::atomic<bool>* const place = noted_.find(fd);
  if (place != nullptr) place->store(false, std::memory_order_relaxed);
}

void internal_fds::close_raw(int fd) noexcept {
  const int error = errno;
  syscall(SYS_close, fd);
  errno = error;
}

void internal_fds::close(int fd) noexcept {
  fd_watchers::before_close(fd);
  const std::lock_guard hold(lock_);
  close_raw(fd);
  forget(fd);
}

void internal_fds::close_all_in_child() noexcept {
  noted_.each(0, ~0u, [](int fd, std::atomic<bool>& place) {
    if (place.load(std::memory_order_relaxed)) close_raw(fd);
  });
  noted_.clear();
  new (&lock_) base::mutex;
}

}  // namespace kedge::kqueue
