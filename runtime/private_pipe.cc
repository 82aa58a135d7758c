// private_pipe: the list of pipes, and what a fork does with it.
#include "kedge/runtime/private_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>

#include "kedge/runtime/base/mutex.h"

namespace kedge {

// The lock is a leaf: under it only descriptors are made and closed. A fork waits for it.
struct private_pipe::fork_handlers {
  using pipe_list = base::list<private_pipe, &private_pipe::link_>;

  static constinit inline base::mutex lock{};
  static constinit inline pipe_list pipes{};

  static void before_fork() noexcept { lock.lock(); }
  static void after_fork() noexcept { lock.unlock(); }
  // The pipes of other threads are on stacks that the child still has.
  static void after_fork_in_child() noexcept {
    pipe_list own;
    while (private_pipe* const p = pipes.pop_front()) {
      if (::pthread_equal(p->owner_, ::pthread_self()) != 0) {
        own.push_back(*p);
        continue;
      }
      for (const int end : p->ends_) {
        if (end >= 0) ::close(end);
      }
    }
    pipes = own;
    new (&lock) base::mutex;
  }

  // Fails only without memory, before main().
  [[maybe_unused]] static inline const int registered =
      ::pthread_atfork([] { before_fork(); }, [] { after_fork(); }, [] { after_fork_in_child(); });
};

private_pipe::private_pipe() {
  const std::lock_guard hold(fork_handlers::lock);
  int made[2];
  if (::pipe(made) != 0)
    throw std::system_error(errno, std::system_category(), "kedge::process: pipe");
  for (int i = 0; i < 2; ++i) {
    ends_[i] = above_standard(made[i]);
    if (ends_[i] >= 0) ::fcntl(ends_[i], F_SETFD, FD_CLOEXEC);
  }
  if (ends_[0] < 0 || ends_[1] < 0) {
    const int error = errno;
    for (const int end : ends_) {
      if (end >= 0) ::close(end);
    }
    throw std::system_error(error, std::system_category(), "kedge::process: pipe");
  }
  fork_handlers::pipes.push_back(*this);
}

private_pipe::~private_pipe() {
  const std::lock_guard hold(fork_handlers::lock);
  fork_handlers::pipes.remove(*this);
  for (const int end : ends_) {
    if (end >= 0) ::close(end);
  }
}

int private_pipe::release(int end) noexcept {
  const std::lock_guard hold(fork_handlers::lock);
  return std::exchange(ends_[end], -1);
}

int above_standard(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = errno;
  ::close(fd);
  errno = error;
  return moved;
}

}  // namespace kedge
