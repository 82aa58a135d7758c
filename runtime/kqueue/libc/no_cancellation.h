// no_cancellation: keeps the thread from acting on a cancellation.
//
//   const no_cancellation guard;
//
// The calls about kqueues are not cancellation points on Darwin (none of them has a _nocancel twin
// in bsd/kern/syscalls.master). But on Linux they call functions of the C library that are: read,
// poll, send and the like. Those are called under a no_cancellation, or as bare system calls.
#pragma once

#include <pthread.h>

namespace kedge::kqueue {

class no_cancellation {
 public:
  no_cancellation() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  no_cancellation(const no_cancellation&) = delete;
  no_cancellation& operator=(const no_cancellation&) = delete;
  ~no_cancellation() { pthread_setcancelstate(before_, nullptr); }

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace kedge::kqueue
