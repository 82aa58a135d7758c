// internal_fds: the descriptors that kqueues have made for themselves. A kqueue's own fds belong to
// the program and are in kqueue_registry.h; while one is being made or closed it is noted here too.
//
// The child of a fork must close all of them. Other tables may have been in the middle of a change
// by another thread. So they are noted here, in a table that is always consistent: a fork waits
// until no thread is between making a descriptor and noting it.
//
// None of them is 0, 1 or 2. A program may have been started with these closed. It would otherwise
// write to its standard error and so to the kqueue.
//
// Threads: any.
#pragma once

#include <cerrno>
#include <mutex>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/fd_table.h"

namespace kedge::kqueue {

class internal_fds {
 public:
  // Returns a descriptor of 3 or above for the file of the descriptor that `make` returns, or -1
  // with errno, also without memory to note it. It is close-on-exec. `make` runs under the lock of
  // this class, so it should be short. The caller must hold no lock that `make` takes.
  template <class Make>
  static int make(Make make) noexcept {
    return make_for_program([&make] { return above_standard(make()); });
  }

  // make() for a kqueue's own fd, which is the lowest that is free, as on Darwin.
  template <class Make>
  static int make_for_program(Make make) noexcept {
    const std::lock_guard hold(lock_);
    const int fd = make();
    if (fd < 0 || note(fd)) return fd;
    close_raw(fd);
    errno = ENOMEM;
    return -1;
  }

  // Closes a descriptor. Keeps errno. Must not be called under a kqueue's lock: kqueues may have
  // knotes about this fd, if the program's file of the same fd was closed by a raw system call, and
  // drop them first.
  static void close(int fd) noexcept;

  // The fd is noted elsewhere by now, or belongs to the program.
  static void forget(int fd) noexcept;

  // A kqueue's own fd is about to be closed, and kqueue_registry is about to forget it. (Without
  // memory to note it, the child of a fork that happens just then keeps the descriptor.)
  static void note_closing(int fd) noexcept { note(fd); }
  // Runs the call that closes it or makes it name another file. Returns the call's result.
  template <class Call>
  static int close_by(int fd, Call call) noexcept {
    const std::lock_guard hold(lock_);
    const int result = call();
    forget(fd);
    return result;
  }

  // close(2) without the C library, whose close() is a cancellation point. Keeps errno.
  static void close_raw(int fd) noexcept;

  static void before_fork() noexcept { lock_.lock(); }
  static void after_fork() noexcept { lock_.unlock(); }
  static void close_all_in_child() noexcept;

 private:
  static bool note(int fd) noexcept;
  // Moves a descriptor below 3. Returns -1 with errno if `fd` is negative, or without a descriptor.
  static int above_standard(int fd) noexcept;

  static base::mutex lock_;  // no other lock is taken under it
  static fd_table<bool> noted_;
};

}  // namespace kedge::kqueue
