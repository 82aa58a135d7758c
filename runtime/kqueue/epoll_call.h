// epoll_call: epoll_wait(2) as kevent() makes it, and wait_round: one such call and its events.
//
// It is not a cancellation point (no_cancellation.h). Where the processor is known it is the bare
// instruction, inline: the compiler saves no registers for it, and there is no return after it. A
// return there costs as much as ten instructions, because the kernel has spoilt its prediction.
#pragma once

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
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

inline constexpr unsigned max_ready = 256;  // epoll's events per wait

// One wait and what it brought. Filled in by queue and fast_path.
struct wait_round {
  int fd;                // of the kqueue
  unsigned taken;        // how many of epoll's events are delivered already
  unsigned room;         // for epoll's events. 0: epoll is not asked
  int count;             // of epoll's events, or a negative errno
  unsigned set;          // the epoll set that the wait began with
  unsigned wait;         // its number, queue::waits_
  unsigned clock_moves;  // queue::clock_moves_ as the wait began, if the clock is replaced
  bool sleep;            // the thread may sleep, so that an activation has to wake it
  bool crowded;          // internal descriptors have taken the room of the program's
  unsigned changes;      // descriptor_table::changes() as the wait began
  epoll_event ready[max_ready];
};

// Runs `call`, which returns a count, or -1 with errno. Returns the count or a negative errno.
// Keeps errno.
template <class Call>
int errno_in_result(Call call) noexcept {
  const int saved = errno;
  const long count = call();
  const int result = count >= 0 ? static_cast<int>(count) : -errno;
  errno = saved;
  return result;
}

// Waits for `milliseconds`, -1 for ever. Returns the number of events or a negative errno. Keeps
// errno.
[[gnu::always_inline]] inline int wait_by_epoll(int epoll, epoll_event* events, unsigned room,
                                                int milliseconds) noexcept {
#if defined(KEDGE_EPOLL_BY_LIBRARY)
  // ThreadSanitizer runs signal handlers only in calls that it knows to sleep.
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

// Waits for `timeout`, null for ever. Returns the number of events or a negative errno. Keeps
// errno.
int wait_for_events(int epoll, epoll_event* events, unsigned room,
                    const timespec* timeout) noexcept;

}  // namespace kedge::kqueue

#undef KEDGE_EPOLL_BY_LIBRARY
