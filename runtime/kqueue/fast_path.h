// fast_path: a kevent() call without changes, while no knote is active in user space and epoll
// reports nothing but ready descriptors. Nearly every call is one. The queue says whether the path
// is open (queue::fast_path_fds_). Whatever else a call meets, it leaves to the slow path
// (queue_wait.cc).
//
// It should cost little more than epoll_wait (README.md), so it is written for the compiler. It is
// one function that calls no other, so that all its state stays in registers. What is seldom needed
// is a function of its own, called last and with plain values, so that this object need not lie in
// memory.
#pragma once

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <type_traits>

#include "kedge/runtime/kqueue/deadline.h"
#include "kedge/runtime/kqueue/epoll_call.h"
#include "kedge/runtime/kqueue/interruption.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {

// `Event` is the layout of the caller's array. A call for which the path is open only with `data`
// comes to it from the path without `data`.
template <class Event, bool with_data = false>
class fast_path {
 public:
  static constexpr call_kind kind =
      std::is_same_v<Event, kevent64_s> ? call_kind::wide : call_kind::narrow;

  // `room`: from 1 to max_ready. `flags`: 0 or KEVENT_FLAG_IMMEDIATE.
  fast_path(queue& home, int fd, Event* events, unsigned room, unsigned flags) noexcept
      : home_(home), fd_(fd), events_(events), room_(room), flags_(flags) {}

  // Returns the result of the call, with errno.
  [[gnu::always_inline]] int run() const noexcept {
    const bool alone = base::one_thread();
    if (!alone && !home_.lock_.try_lock_atomically()) [[unlikely]]
      return take_slow_path(home_, fd_, events_, room_, flags_, nullptr);
    if (home_.fast_path_fds_[kind_index] != fd_) [[unlikely]]
      return leave_path(home_, fd_, events_, room_, flags_, nullptr);
    wait_round r;
    begin_wait(r);
    if (!alone && !home_.lock_.release_atomically()) [[unlikely]]
      return wake_and_wait(home_, r, events_, flags_);
    return wait(r);
  }

  // The call with a time-out.
  [[gnu::noinline]] static int run(queue& home, int fd, Event* events, unsigned room,
                                   const timespec& timeout) noexcept {
    const fast_path call(home, fd, events, room, 0);
    deadline until;
    until.set(timeout);
    home.lock_.lock();
    if (home.fast_path_fds_[kind_index] != fd) return leave_path(home, fd, events, room, 0, &until);
    return call.run_locked(&until);
  }

 private:
  friend class fast_path<Event, !with_data>;

  static constexpr std::size_t kind_index = queue::index_of(kind, with_data);

  // Requires the queue's lock. Releases it.
  [[gnu::always_inline]] int run_locked(deadline* until) const noexcept {
    wait_round r;
    begin_wait(r);
    home_.lock_.unlock();
    if (until == nullptr) return wait(r);
    return deliver(r, wait_for_events(fd_, r.ready, room_, until->remaining()), until);
  }

  void begin_wait(wait_round& r) const noexcept {
    ++home_.sleepers_;
    interrupted = interruption::none;
    r.fd = fd_;
    r.room = room_;
    r.set = home_.set_;
    r.changes = home_.descriptors_.changes();
  }

  [[gnu::always_inline]] int wait(wait_round& r) const noexcept {
    static_assert(KEVENT_FLAG_IMMEDIATE == 1);
    const int count = wait_by_epoll(fd_, r.ready, room_, static_cast<int>(flags_) - 1);
    return deliver(r, count, nullptr);
  }

  // Delivers what a wait has brought: `count` is the number of events in `r`, or a negative errno.
  // `until` is null if there is no time-out other than that of `flags_`.
  [[gnu::always_inline]] int deliver(wait_round& r, int count, deadline* until) const noexcept {
    r.count = count;
    if (!base::one_thread() && !home_.lock_.try_lock_atomically()) [[unlikely]]
      return lock_and_deliver(home_, r, events_, flags_, until);
    return deliver_locked(r, until);
  }

  // Requires the queue's lock. Releases it.
  [[gnu::always_inline]] int deliver_locked(wait_round& r, deadline* until) const noexcept {
    --home_.sleepers_;
    const epoll_event* ready = r.ready;
    Event* at = events_;
    const bool is_open = home_.fast_path_fds_[kind_index] == r.fd;
    if (r.count <= 0 || !is_open) [[unlikely]] {
      const bool is_over = r.count == 0 && is_open && flags_ != 0;
      if (!is_over) return finish(home_, r, ready, events_, at, flags_, until);
      if (!base::one_thread() && !home_.lock_.release_atomically()) home_.lock_.wake_one();
      return 0;
    }
    const descriptor_table::entry* const entries = home_.descriptors_.entries();
    const epoll_event* const last = ready + r.count;
    do {
      const descriptor_table::entry* const e = plain_entry(entries, *ready);
      if (e == nullptr) [[unlikely]]
        return finish(home_, r, ready, events_, at, flags_, until);
      if (e->first->chain != nullptr) [[unlikely]]
        return deliver_several(home_, r, ready, events_, at, flags_, until);
      put_plain(*e->first, *at++);
    } while (++ready != last);
    if (!base::one_thread() && !home_.lock_.release_atomically()) [[unlikely]]
      return wake_and_return(home_, events_, r.count);
    return complete(events_, r.count);
  }

  // Does what is left to do without the lock. Returns the number of events.
  [[gnu::always_inline]] static int complete(Event* events, int count) noexcept {
    if constexpr (with_data) put_amounts(events, static_cast<unsigned>(count));
    return count;
  }

  // Returns the descriptor of epoll's event, or null if the event needs the slow path.
  [[gnu::always_inline]] static const descriptor_table::entry* plain_entry(
      const descriptor_table::entry* entries, const epoll_event& event) noexcept {
    const std::uint64_t tag = event.data.u64;
    if ((tag & internal_tag) != 0) return nullptr;
    const descriptor_table::entry& e = entries[static_cast<std::uint32_t>(tag)];
    if (e.generation != static_cast<std::uint32_t>(tag >> 32)) return nullptr;
    return (event.events & ~std::uint32_t{e.plain}) == 0 ? &e : nullptr;
  }

  // --- Seldom needed.

  // The whole call. Requires that the lock is not held.
  [[gnu::noinline]] static int take_slow_path(queue& home, int fd, Event* events, unsigned room,
                                              unsigned flags, deadline* until) noexcept {
    const int error = home.enter(fd, kind);
    if (error != 0) {
      errno = error;
      return -1;
    }
    event_writer out(events, static_cast<int>(room));
    deadline own = deadline_of(flags, until);
    return end(home, home.collect(out, own), out);
  }

  // The path is not open. Requires the queue's lock. Releases it.
  [[gnu::noinline]] static int leave_path(queue& home, int fd, Event* events, unsigned room,
                                          unsigned flags, deadline* until) noexcept {
    using other = fast_path<Event, !with_data>;
    if (home.fast_path_fds_[other::kind_index] == fd)
      return other(home, fd, events, room, flags).run_locked(until);
    home.lock_.unlock();
    return take_slow_path(home, fd, events, room, flags, until);
  }

  [[gnu::noinline]] static int wake_and_wait(queue& home, wait_round& r, Event* events,
                                             unsigned flags) noexcept {
    home.lock_.wake_one();
    return fast_path(home, r.fd, events, r.room, flags).wait(r);
  }

  [[gnu::noinline]] static int lock_and_deliver(queue& home, wait_round& r, Event* events,
                                                unsigned flags, deadline* until) noexcept {
    home.lock_.lock();
    return fast_path(home, r.fd, events, r.room, flags).deliver_locked(r, until);
  }

  [[gnu::noinline]] static int wake_and_return(queue& home, Event* events, int count) noexcept {
    home.lock_.wake_one();
    return complete(events, count);
  }

  // Continues at `ready` and `at`, where a descriptor has more than one knote. Requires the queue's
  // lock. Releases it. (Seven parameters, here and in finish(): the caller has them in registers,
  // and a struct would be filled on the fast path.)
  [[gnu::noinline]] static int deliver_several(queue& home, wait_round& r, const epoll_event* ready,
                                               Event* events, Event* at, unsigned flags,
                                               deadline* until) noexcept {
    const descriptor_table::entry* const entries = home.descriptors_.entries();
    const Event* const end = events + r.room;
    const epoll_event* const last = r.ready + r.count;
    do {
      const descriptor_table::entry* const e = plain_entry(entries, *ready);
      Event* const next = e != nullptr ? put_each(e->first, ready->events, at, end) : nullptr;
      if (next == nullptr) return finish(home, r, ready, events, at, flags, until);
      at = next;
    } while (++ready != last);
    home.lock_.unlock();
    return complete(events, static_cast<int>(at - events));
  }

  // Writes an event for each knote of a descriptor that `reported` concerns. Returns the end of the
  // events, or null if they do not fit.
  static Event* put_each(const knote_record* k, std::uint32_t reported, Event* at,
                         const Event* end) noexcept {
    for (; k != nullptr; k = k->chain) {
      if ((reported & k->reported) == 0) continue;
      if (at == end) return nullptr;
      put_plain(*k, *at++);
    }
    return at;
  }

  // Continues on the slow path. Everything before `ready` and `at` is delivered. Requires the
  // queue's lock. Releases it.
  [[gnu::noinline]] static int finish(queue& home, wait_round& r, const epoll_event* ready,
                                      Event* events, const Event* at, unsigned flags,
                                      deadline* until) noexcept {
    deadline own = deadline_of(flags, until);
    if (r.count == 0 && own.is_now() && home.fast_path_fds_[kind_index] == r.fd) {
      home.lock_.unlock();
      return 0;
    }
    ++home.users_;
    r.sleep = true;
    r.taken = static_cast<unsigned>(ready - r.ready);
    event_writer out(events, static_cast<int>(r.room), static_cast<unsigned>(at - events));
    return end(home, home.finish_wait(r, out, own), out);
  }

  static deadline deadline_of(unsigned flags, const deadline* until) noexcept {
    if (until != nullptr) return *until;
    deadline own;
    if (flags != 0) own.set_now();
    return own;
  }

  static int end(queue& home, int error, const event_writer& out) noexcept {
    error == EBADF ? home.leave_lost() : home.leave();
    if (error == 0) return static_cast<int>(out.count());
    if (error == EINTR) {
      if (base::parker* const scheduler = base::parker::of_thread()) scheduler->leave();
    }
    errno = error;
    return -1;
  }

  queue& home_;
  const int fd_;
  Event* const events_;
  const unsigned room_;
  const unsigned flags_;
};

}  // namespace kedge::kqueue
