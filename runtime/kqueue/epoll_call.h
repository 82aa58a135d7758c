#pragma once

// epoll_wait(2) as kevent() makes it. It is no cancellation point (no_cancellation.h), and where
// the processor is known it is the bare instruction: nothing is saved for it, and nothing has to be
// returned from once it is done. A return there costs as much as ten instructions: the kernel has
// spoilt its prediction.

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/kqueue/no_cancellation.h"

#if defined(__SANITIZE_THREAD__)
#define KEDGE_EPOLL_BY_LIBRARY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_EPOLL_BY_LIBRARY 1
#endif
#endif

namespace kedge::kqueue {

// `milliseconds`: -1 for ever. Returns the number of events or a negative errno; errno is not
// touched.
[[gnu::always_inline]] inline int wait_by_epoll(int epoll, epoll_event* events, unsigned room,
                                                int milliseconds) noexcept {
#if defined(KEDGE_EPOLL_BY_LIBRARY)
  // ThreadSanitizer runs signal handlers in calls that it knows to sleep.
  const no_cancellation hold;
  const int saved = errno;
  int result = epoll_wait(epoll, events, static_cast<int>(room), milliseconds);
  if (result < 0) result = -errno;
  errno = saved;
  return result;
#elif defined(__x86_64__)
  long result = SYS_epoll_wait;
  register int timeout asm("r10") = milliseconds;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(epoll), "S"(events), "d"(room), "r"(timeout)
               : "rcx", "r11", "memory");
  return static_cast<int>(result);
#else
  const int saved = errno;
  long result = syscall(SYS_epoll_pwait, epoll, events, room, milliseconds, nullptr, 0);
  if (result < 0) result = -errno;
  errno = saved;
  return static_cast<int>(result);
#endif
}

}  // namespace kedge::kqueue

#undef KEDGE_EPOLL_BY_LIBRARY
