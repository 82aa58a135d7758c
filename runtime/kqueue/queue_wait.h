#pragma once

// The short way through a kevent() call, which nearly every call takes: no changes; nothing active
// in user space; epoll reports descriptors that are ready, and nothing else of them; `data` is not
// wanted. It is inlined into the call. What it meets on the way it leaves to queue_wait.cc.

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>

#include "kedge/kqueue/extension.h"
#include "kedge/kqueue/interruption.h"
#include "kedge/kqueue/queue.h"
#include "kedge/kqueue/timer_clock.h"

namespace kedge::kqueue {

inline constexpr unsigned max_ready = 256;  // events of epoll's per wait

// One wait and what it brought.
struct round {
  unsigned room;  // for epoll's events; 0: it is not asked
  bool sleep;     // who activates a knote meanwhile has to ring
  int count;      // of epoll's events, or a negative errno
  // As it began:
  int number;
  unsigned set;
  unsigned changes;
  interruption before;
  epoll_event ready[max_ready];
};

inline void queue::begin_wait(round& r) noexcept {
  r.number = number_;
  r.set = set_;
  r.changes = descriptors_.changes();
  r.before = interruptions_so_far();
  if (r.sleep) ++sleepers_;
}
inline void queue::end_wait(const round& r) noexcept {
  if (r.sleep) --sleepers_;
}

inline bool queue::start_short_way(int number, call_kind kind) noexcept {
  lock_.lock();
  if (number_ == number && kind_ == kind && waiting_ == 0 && !ended_ && !clock_is_virtual())
      [[likely]] {
    ++users_;
    return true;
  }
  lock_.unlock();
  return false;
}

// Delivers what a descriptor's only knote says of it. False if the event is another.
template <class Record>
inline bool queue::deliver_plain(const epoll_event& event, Record& record) const noexcept {
  const std::uint64_t tag = event.data.u64;
  const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint32_t>(tag));
  if (e == nullptr || e->generation != tag >> 32 || e->first == nullptr) return false;
  const knote_record& k = *e->first;
  if ((event.events & ~k.plain) != 0 || k.active) return false;
  put_plain(k, record);
  return true;
}

template <class Record>
inline unsigned queue::take_short_way(round& r, Record* events, int milliseconds) noexcept {
  r.sleep = true;
  begin_wait(r);
  lock_.unlock();
  const int count = epoll_wait(r.number, r.ready, static_cast<int>(r.room), milliseconds);
  r.count = count >= 0 ? count : -errno;
  lock_.lock();
  end_wait(r);
  unsigned n = 0;
  while (static_cast<int>(n) < count && deliver_plain(r.ready[n], events[n])) ++n;
  return n;
}

inline bool queue::leave_short_way(const round& r, unsigned delivered) noexcept {
  if (static_cast<int>(delivered) != r.count || delivered == 0 || waiting_ != 0 || ended_ ||
      r.set != set_ || (options_ & no_data) == 0) [[unlikely]] {
    return false;
  }
  --users_;
  lock_.unlock();
  return true;
}

}  // namespace kedge::kqueue
