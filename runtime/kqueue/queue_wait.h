// Waiting: one look at what epoll has (queue_wait.cc, fast_path.h).
#pragma once

#include <sys/epoll.h>
#include <time.h>

namespace kedge::kqueue {

inline constexpr unsigned max_ready = 256;  // events of epoll's per wait

// One wait and what it brought.
struct round {
  int number;        // of the kqueue
  unsigned taken;    // so many of epoll's events are delivered already
  unsigned room;     // for epoll's events; 0: it is not asked
  int count;         // of epoll's events, or a negative errno
  unsigned set;      // as it began
  bool sleep;        // who activates a knote meanwhile has to ring
  unsigned changes;  // as it began
  epoll_event ready[max_ready];
};

// Waits for as long as `limit` says, null for ever. Returns their number or a negative errno; errno
// is not touched. Like epoll_call.h's, no cancellation point.
int wait_for_events(int epoll, epoll_event* events, unsigned room, const timespec* limit) noexcept;

}  // namespace kedge::kqueue
