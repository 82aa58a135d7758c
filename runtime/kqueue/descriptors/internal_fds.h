// The descriptors that kqueues have made for themselves. Those of a kqueue's numbers belong to the
// program, and are known to kqueue_registry.h; but while one is being made or closed it is noted
// here, too.
//
// The child of a fork must close them all, and whatever else knows them may have been in the middle
// of a change by another thread. So they are noted here in a way that is always whole: a fork waits
// until no thread is between making one and noting it.
#pragma once

#include <cerrno>
#include <mutex>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/fd_table.h"

namespace kedge::kqueue {

class internal_fds {
 public:
  // The descriptor that `make` returns, or -1 with errno, also if there is no memory to note it.
  // Called with no lock held that `make` takes; it should not take long.
  template <class Make>
  static int make(Make make) noexcept {
    const std::lock_guard hold(lock_);
    const int fd = make();
    if (fd < 0 || note(fd)) return fd;
    close_at_once(fd);
    errno = ENOMEM;
    return -1;
  }

  // Closes one. What kqueues cared for under its number, closed behind our back, goes before: so
  // not under a kqueue's lock. Keeps errno.
  static void close(int fd) noexcept;

  // It is made known elsewhere, or the program's.
  static void forget(int fd) noexcept;

  // A kqueue's number on its way out, which kqueue_registry is about to forget. Without memory for
  // that, a child of a fork meanwhile keeps it.
  static void leave(int number) noexcept { note(number); }
  // The call that closes it, or puts another file there. Returns what it returns.
  template <class Call>
  static int close_by(int number, Call call) noexcept {
    const std::lock_guard hold(lock_);
    const int result = call();
    forget(number);
    return result;
  }

  static void before_fork() noexcept { lock_.lock(); }
  static void after_fork() noexcept { lock_.unlock(); }
  static void close_all_in_child() noexcept;

  // No call of the C library's, which would be a cancellation point.
  static void close_at_once(int fd) noexcept;

 private:
  static bool note(int fd) noexcept;

  static base::mutex lock_;  // nothing else is locked under it
  static fd_table<bool> noted_;
};

}  // namespace kedge::kqueue
