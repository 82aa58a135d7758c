// sigpipe_guard: keeps a call of write(2) or sendfile(2) from raising SIGPIPE.
//
//     ssize_t n;
//     {
//       const sigpipe_guard guard;
//       n = ::write(pipe, data, size);  // EPIPE instead of the signal
//     }
//
// For calls that have no flag against the signal. The system sends it to the calling thread, so the
// guard blocks it in the thread, and takes it back if the call has raised it. A SIGPIPE that was
// pending before stays pending. One that another process sends during the call is taken back too.
// It works whether the program ignores, handles or blocks SIGPIPE. Darwin sends the signal of a
// pipe to the process (xnu bsd/kern/sys_generic.c): another thread that does not block it may
// receive it there.
//
// A guard costs three system calls, or four if the thread blocks SIGPIPE, and keeps errno. Any
// thread; a guard is destroyed in the thread that has made it, and guards of one thread in the
// reverse order.
#pragma once

#include <signal.h>

namespace kedge::base {

class sigpipe_guard {
 public:
  sigpipe_guard() noexcept;
  sigpipe_guard(const sigpipe_guard&) = delete;
  sigpipe_guard& operator=(const sigpipe_guard&) = delete;
  ~sigpipe_guard();

 private:
  sigset_t mask_before_;
  bool was_pending_;
};

}  // namespace kedge::base
