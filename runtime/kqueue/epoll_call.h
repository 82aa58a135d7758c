// epoll_wait(2) as kevent() makes it. It is no cancellation point (no_cancellation.h), and where
// the processor is known it is the bare instruction: nothing is saved for it, and nothing has to be
// returned from once it is done. A return there costs as much as ten instructions: the kernel has
// spoilt its prediction.
#pragma once

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/kqueue/libc/no_cancellation.h"

#if defined(__SANITIZE_THREAD__)
#define KEDGE_EPOLL_BY_LIBRARY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_EPOLL_BY_LIBRARY 1
#endif
#endif

namespace kedge::kqueue {

// Runs `call`, which returns a count, or -1 with errno. Returns the count or a negative errno;
// errno is not touched.
template <class Call>
int errno_in_result(Call call) noexcept {
  const int saved = errno;
  const long count = call();
  const int result = count >= 0 ? static_cast<int>(count) : -errno;
  errno = saved;
  return result;
}

// `milliseconds`: -1 for ever. Returns the number of events or a negative errno; errno is not
// touched.
[[gnu::always_inline]] inline int wait_by_epoll(int epoll, epoll_event* events, unsigned room,
                                                int milliseconds) noexcept {
#if defined(KEDGE_EPOLL_BY_LIBRARY)
  // ThreadSanitizer runs signal handlers in calls that it knows to sleep.
  const no_cancellation hold;
  return errno_in_result(
      [=] { return epoll_wait(epoll, events, static_cast<int>(room), milliseconds); });
#elif defined(__x86_64__)
  long result = SYS_epoll_wait;
  register int timeout asm("r10") = milliseconds;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(epoll), "S"(events), "d"(room), "r"(timeout)
               : "rcx", "r11", "memory");
  return static_cast<int>(result);
#else
  return errno_in_result(
      [=] { return syscall(SYS_epoll_pwait, epoll, events, room, milliseconds, nullptr, 0); });
#endif
}

}  // namespace kedge::kqueue

#undef KEDGE_EPOLL_BY_LIBRARY
