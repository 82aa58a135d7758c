// private_pipe: a pipe that only a child of its own thread inherits.
//
// POSIX has no call that makes a close-on-exec pipe: between pipe() and fcntl() another thread may
// fork. So a fork waits until both calls are done, and the child of a fork by another thread closes
// the ends that a private_pipe holds, also if the child executes nothing. A child that another
// thread makes past fork(), by vfork() or posix_spawn(), inherits the ends if it comes between the
// two calls. The end of the file then comes when that child has ended too.
//
// Threads: one thread uses an object. Any number of threads may have some.
#pragma once

#include <pthread.h>

#include "kedge/runtime/base/list.h"

namespace kedge {

class private_pipe {
 public:
  // Makes a pipe whose ends are close-on-exec and neither 0, 1 nor 2. Throws std::system_error.
  private_pipe();
  private_pipe(const private_pipe&) = delete;
  private_pipe& operator=(const private_pipe&) = delete;
  // Closes the ends that it still has.
  ~private_pipe();

  int reading() const noexcept { return ends_[0]; }
  int writing() const noexcept { return ends_[1]; }

  // Gives an end to the caller, who closes it.
  int release_reading() noexcept { return release(0); }
  int release_writing() noexcept { return release(1); }

 private:
  struct fork_handlers;
  int release(int end) noexcept;

  int ends_[2] = {-1, -1};
  const pthread_t owner_ = ::pthread_self();
  base::list_link<private_pipe> link_;  // of the pipes that exist
};

// Returns `fd`, or a close-on-exec duplicate that is not 0, 1 or 2, and closes `fd` then. Returns
// -1 with errno without a descriptor.
int above_standard(int fd) noexcept;

}  // namespace kedge
