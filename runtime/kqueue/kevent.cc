// kqueue(), kevent() and kevent64(), in the order of steps of kevent_internal() in Darwin's
// kern_event.c.
//
// The functions pass the arguments of kevent() on one by one, though they are more than six: most
// stay in registers, and filling a struct would cost every call instructions.
#include <sys/event.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "kedge/runtime/base/outside_heap.h"
#include "kedge/runtime/base/parker.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/fast_path.h"
#include "kedge/runtime/kqueue/libc/bypassed_calls.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

// KEVENT_FLAG_WORKQ, _WORKLOOP, _DYNAMIC_KQ_MUST_EXIST and _DYNAMIC_KQ_MUST_NOT_EXIST, which
// Darwin's own libraries use for kqueues of other kinds. Darwin ignores bits that it does not know.
constexpr unsigned other_kinds = 0x20 | 0x400 | 0x20000 | 0x40000;

kevent64_s widened(const kevent64_s& change) noexcept {
  return change;
}
kevent64_s widened(const struct kevent& change) noexcept {
  return {change.ident,  change.filter, change.flags,
          change.fflags, change.data,   reinterpret_cast<std::uint64_t>(change.udata),
          {0, 0}};
}

bool is_valid(const timespec& t) noexcept {
  // Darwin accepts a nanosecond count of exactly one second.
  return t.tv_sec >= 0 && t.tv_sec <= INT32_MAX && t.tv_nsec >= 0 && t.tv_nsec <= 1'000'000'000;
}

// Applies the changes in order. A failed change, or one with EV_RECEIPT, becomes an event if there
// is room. Without room the errno of a failed change ends the call and is returned. `lost`: the fd
// is another file's, which is EBADF.
template <class Event>
[[gnu::always_inline]] inline int apply_all(queue& q, const Event* changes, int nchanges,
                                            event_writer& out, bool& lost) noexcept {
  if (changes == nullptr) return EFAULT;
  for (int i = 0; i < nchanges; ++i) {
    kevent64_s change = widened(changes[i]);
    const int error = q.apply(change);
    if (error != 0 && !q.fd_is_ours()) {
      lost = true;
      return EBADF;
    }
    if (error == 0 && (change.flags & EV_RECEIPT) == 0) continue;
    if (out.room() == 0) {
      if (error != 0) return error;
      continue;
    }
    change.flags = static_cast<std::uint16_t>((change.flags & ~EV_SYSFLAGS) | EV_ERROR);
    change.data = error;
    out.put(change);
  }
  return 0;
}

// How a call names its kqueue.
struct by_fd {
  int fd;
  queue* find() const noexcept { return kqueue_registry::find(fd); }
};
struct by_handle {
  int fd;
  queue* of_fd;
  queue* find() const noexcept { return of_fd; }
};

// Returns 0 or an errno.
template <class Event, class Name>
[[gnu::always_inline]] inline int run(Name name, call_kind kind, const Event* changes, int nchanges,
                                      event_writer& out, unsigned flags, deadline& until) noexcept {
  queue* const q = name.find();
  if (q == nullptr) return EBADF;
  int error = q->enter(name.fd, kind);
  if (error != 0) return error;
  bool lost = false;
  if (nchanges > 0) {
    error = apply_all(*q, changes, nchanges, out, lost);
    q->retract_wakeup();
  }
  if (error == 0 && out.count() == 0 && out.room() != 0 &&
      (flags & KEVENT_FLAG_ERROR_EVENTS) == 0) {
    error = q->collect(out, until);
    lost = error == EBADF;
  }
  lost ? q->leave_lost() : q->leave();
  return error;
}

template <class Event, class Name>
[[gnu::noinline]] int call_slow_path(call_kind kind, Name name, const Event* changes, int nchanges,
                                     Event* events, int nevents, unsigned flags,
                                     const timespec* timeout) noexcept {
  const base::outside_heap of_kernel;
  int error = (flags & other_kinds) != 0 ? EINVAL : 0;
  deadline until;
  if ((flags & KEVENT_FLAG_IMMEDIATE) != 0) {
    until.set_now();
  } else if (timeout != nullptr) {
    if (is_valid(*timeout)) {
      until.set(*timeout);
    } else {
      error = EINVAL;
    }
  }
  // Without an array the first event fails.
  Event nowhere;
  event_writer out(events != nullptr ? events : &nowhere,
                   events != nullptr ? nevents : std::min(nevents, 1));
  if (error == 0) error = run(name, kind, changes, nchanges, out, flags, until);
  if (events == nullptr && out.count() != 0) error = EFAULT;
  if (error == 0) return static_cast<int>(out.count());
  if (error == EINTR) {
    if (base::parker* const scheduler = base::parker::of_thread()) scheduler->leave();
  }
  errno = error;
  return -1;
}

template <class Event, class Name>
[[gnu::always_inline]] inline int call(call_kind kind, Name name, const Event* changes,
                                       int nchanges, Event* events, int nevents, unsigned flags,
                                       const timespec* timeout) noexcept {
  queue* q = nullptr;
  if (nchanges > 0 || flags > KEVENT_FLAG_IMMEDIATE || events == nullptr ||
      static_cast<unsigned>(nevents) - 1 >= max_ready || (q = name.find()) == nullptr)
      [[unlikely]] {
    return call_slow_path(kind, name, changes, nchanges, events, nevents, flags, timeout);
  }
  const auto room = static_cast<unsigned>(nevents);
  if (timeout == nullptr) [[likely]]
    return fast_path<Event>(*q, name.fd, events, room, flags).run();
  if (flags == 0 && is_valid(*timeout))
    return fast_path<Event>::run(*q, name.fd, events, room, *timeout);
  return call_slow_path(kind, name, changes, nchanges, events, nevents, flags, timeout);
}

by_handle name_of(const struct kedge_kqueue& handle) noexcept {
  return {handle.fd, static_cast<queue*>(handle.queue)};
}

}  // namespace
}  // namespace kedge::kqueue

extern "C" int kqueue(void) {
  const kedge::base::outside_heap of_kernel;
  kedge::kqueue::report_bypassed_calls();
  return kedge::kqueue::kqueue_registry::make();
}

using kedge::kqueue::by_fd;
using kedge::kqueue::call;
using kedge::kqueue::call_kind;
using kedge::kqueue::name_of;

extern "C" int kevent(int kq, const struct kevent* changelist, int nchanges,
                      struct kevent* eventlist, int nevents, const struct timespec* timeout) {
  return call(call_kind::narrow, by_fd{kq}, changelist, nchanges, eventlist, nevents, 0, timeout);
}

extern "C" int kevent64(int kq, const kevent64_s* changelist, int nchanges, kevent64_s* eventlist,
                        int nevents, unsigned int flags, const struct timespec* timeout) {
  return call(call_kind::wide, by_fd{kq}, changelist, nchanges, eventlist, nevents, flags, timeout);
}

extern "C" int kedge_kqueue_kevent(const struct kedge_kqueue* handle, const struct kevent* changes,
                                   int nchanges, struct kevent* events, int nevents,
                                   const struct timespec* timeout) {
  return call(call_kind::narrow, name_of(*handle), changes, nchanges, events, nevents, 0, timeout);
}

extern "C" int kedge_kqueue_kevent64(const struct kedge_kqueue* handle, const kevent64_s* changes,
                                     int nchanges, kevent64_s* events, int nevents, unsigned flags,
                                     const struct timespec* timeout) {
  return call(call_kind::wide, name_of(*handle), changes, nchanges, events, nevents, flags,
              timeout);
}
