#pragma once

// Waiting: one look at what epoll has (queue_wait.cc, short_call.h).

#include <sys/epoll.h>
#include <time.h>

namespace kedge::kqueue {

inline constexpr unsigned max_ready = 256;  // events of epoll's per wait

// One wait and what it brought.
struct round {
  int number;     // of the kqueue
  unsigned room;  // for epoll's events; 0: it is not asked
  unsigned set;   // as it began
  unsigned changes;
  bool sleep;      // who activates a knote meanwhile has to ring
  int count;       // of epoll's events, or a negative errno
  unsigned taken;  // so many of them are delivered already
  epoll_event ready[max_ready];
};

// Waits for as long as `limit` says, null for ever. Returns their number or a negative errno, which
// errno has, too.
int wait_for_events(int epoll, epoll_event* events, unsigned room, const timespec* limit) noexcept;

}  // namespace kedge::kqueue
