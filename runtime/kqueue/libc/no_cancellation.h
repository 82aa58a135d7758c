// The calls about kqueues are no cancellation points on Darwin (none of them has a _nocancel twin
// in bsd/kern/syscalls.master), but some of what they call of the C library is here: read, poll,
// send and the like are called with this, or as bare system calls.
#pragma once

#include <pthread.h>

namespace kedge::kqueue {

// As long as it lives, the thread does not act on a cancellation.
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
