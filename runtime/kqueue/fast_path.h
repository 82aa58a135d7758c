// The short way through a kevent() call, which nearly every call goes: no changes; nothing active
// in user space; epoll reports descriptors that are ready, and nothing else of them. The queue says
// whether it is open (queue::open_for_). What a call meets on the way, it leaves to the long one.
//
// It is to cost little more than epoll_wait (README.md) and so it is written for the compiler: it
// is one function that calls none, so that all it has to remember stays in registers; what is
// seldom needed is a function of its own, called last of all and with plain values, so that this
// object need not lie in memory.
#pragma once

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <type_traits>

#include "kedge/runtime/kqueue/deadline.h"
#include "kedge/runtime/kqueue/epoll_call.h"
#include "kedge/runtime/kqueue/epoll_tag.h"
#include "kedge/runtime/kqueue/interruption.h"
#include "kedge/runtime/kqueue/queue.h"
#include "kedge/runtime/kqueue/queue_wait.h"

namespace kedge::kqueue {

// `Record` is the layout of the caller's array. A call for which the way is open only with `data`
// goes there from the one without.
template <class Record, bool with_data = false>
class fast_path {
 public:
  static constexpr call_kind kind =
      std::is_same_v<Record, kevent64_s> ? call_kind::wide : call_kind::narrow;

  // `room`: from 1 to max_ready. `flags`: 0 or KEVENT_FLAG_IMMEDIATE.
  fast_path(queue& home, int number, Record* events, unsigned room, unsigned flags) noexcept
      : home_(home), number_(number), events_(events), room_(room), flags_(flags) {}

  // Returns the result of the call, with errno.
  [[gnu::always_inline]] int run() const noexcept {
    const bool alone = base::one_thread();
    if (!alone && !home_.lock_.try_lock_atomically()) [[unlikely]]
      return take_long_way(home_, number_, events_, room_, flags_, nullptr);
    if (home_.open_for_[kind_index] != number_) [[unlikely]]
      return turn_back(home_, number_, events_, room_, flags_, nullptr);
    round r;
    begin_wait(r);
    if (!alone && !home_.lock_.release_atomically()) [[unlikely]]
      return wake_and_wait(home_, r, events_, flags_);
    return wait(r);
  }

  // The same with a time-out.
  [[gnu::noinline]] static int run(queue& home, int number, Record* events, unsigned room,
                                   const timespec& timeout) noexcept {
    const fast_path call(home, number, events, room, 0);
    deadline limit;
    limit.set(timeout);
    home.lock_.lock();
    if (home.open_for_[kind_index] != number)
      return turn_back(home, number, events, room, 0, &limit);
    return call.run_locked(&limit);
  }

 private:
  friend class fast_path<Record, !with_data>;

  static constexpr std::size_t kind_index = queue::index_of(kind, with_data);

  [[gnu::always_inline]] int run_locked(deadline* limit) const noexcept {
    round r;
    begin_wait(r);
    home_.lock_.unlock();
    if (limit == nullptr) return wait(r);
    return deliver(r, wait_for_events(number_, r.ready, room_, limit->left()), limit);
  }

  void begin_wait(round& r) const noexcept {
    ++home_.sleepers_;
    interrupted = interruption::none;
    r.number = number_;
    r.room = room_;
    r.set = home_.set_;
    r.changes = home_.descriptors_.changes();
  }

  [[gnu::always_inline]] int wait(round& r) const noexcept {
    static_assert(KEVENT_FLAG_IMMEDIATE == 1);
    const int count = wait_by_epoll(number_, r.ready, room_, static_cast<int>(flags_) - 1);
    return deliver(r, count, nullptr);
  }

  // What a wait has brought: the events of `r`, or a negative errno as their count. `limit`: null
  // if there is no time-out but what `flags_` say.
  [[gnu::always_inline]] int deliver(round& r, int count, deadline* limit) const noexcept {
    r.count = count;
    if (!base::one_thread() && !home_.lock_.try_lock_atomically()) [[unlikely]]
      return lock_and_deliver(home_, r, events_, flags_, limit);
    return deliver_locked(r, limit);
  }

  [[gnu::always_inline]] int deliver_locked(round& r, deadline* limit) const noexcept {
    --home_.sleepers_;
    const epoll_event* ready = r.ready;
    Record* at = events_;
    if (r.count <= 0 || home_.open_for_[kind_index] != r.number) [[unlikely]]
      return finish(home_, r, ready, events_, at, flags_, limit);
    const descriptor_table::entry* const entries = home_.descriptors_.entries();
    const epoll_event* const last = ready + r.count;
    do {
      const descriptor_table::entry* const e = plain(entries, *ready);
      if (e == nullptr) [[unlikely]]
        return finish(home_, r, ready, events_, at, flags_, limit);
      if (e->first->chain != nullptr) [[unlikely]]
        return deliver_several(home_, r, ready, events_, at, flags_, limit);
      put_plain(*e->first, *at++);
    } while (++ready != last);
    if (!base::one_thread() && !home_.lock_.release_atomically()) [[unlikely]]
      return wake_and_return(home_, events_, r.count);
    return complete(events_, r.count);
  }

  // What is left to do for the events of the call, without the lock. Returns their number.
  [[gnu::always_inline]] static int complete(Record* events, int count) noexcept {
    if constexpr (with_data) put_amounts(events, static_cast<unsigned>(count));
    return count;
  }

  // The descriptor that an event is about; null if the event asks for more than records.
  [[gnu::always_inline]] static const descriptor_table::entry* plain(
      const descriptor_table::entry* entries, const epoll_event& event) noexcept {
    const std::uint64_t tag = event.data.u64;
    if ((tag & own_descriptor) != 0) return nullptr;
    const descriptor_table::entry& e = entries[static_cast<std::uint32_t>(tag)];
    if (e.generation != static_cast<std::uint32_t>(tag >> 32)) return nullptr;
    return (event.events & ~std::uint32_t{e.plain}) == 0 ? &e : nullptr;
  }

  // What is seldom needed.

  [[gnu::noinline]] static int take_long_way(queue& home, int number, Record* events, unsigned room,
                                             unsigned flags, deadline* limit) noexcept {
    const int error = home.enter(number, kind);
    if (error != 0) {
      errno = error;
      return -1;
    }
    records out(events, static_cast<int>(room));
    deadline own = limit_of(flags, limit);
    return end(home, home.collect(out, own), out);
  }

  [[gnu::noinline]] static int turn_back(queue& home, int number, Record* events, unsigned room,
                                         unsigned flags, deadline* limit) noexcept {
    using other = fast_path<Record, !with_data>;
    if (home.open_for_[other::kind_index] == number)
      return other(home, number, events, room, flags).run_locked(limit);
    home.lock_.unlock();
    return take_long_way(home, number, events, room, flags, limit);
  }

  [[gnu::noinline]] static int wake_and_wait(queue& home, round& r, Record* events,
                                             unsigned flags) noexcept {
    home.lock_.wake_one();
    return fast_path(home, r.number, events, r.room, flags).wait(r);
  }

  [[gnu::noinline]] static int lock_and_deliver(queue& home, round& r, Record* events,
                                                unsigned flags, deadline* limit) noexcept {
    home.lock_.lock();
    return fast_path(home, r.number, events, r.room, flags).deliver_locked(r, limit);
  }

  [[gnu::noinline]] static int wake_and_return(queue& home, Record* events, int count) noexcept {
    home.lock_.wake_one();
    return complete(events, count);
  }

  // From `ready` and `at` on, with descriptors that have more than one knote.
  [[gnu::noinline]] static int deliver_several(queue& home, round& r, const epoll_event* ready,
                                               Record* events, Record* at, unsigned flags,
                                               deadline* limit) noexcept {
    const descriptor_table::entry* const entries = home.descriptors_.entries();
    const Record* const end = events + r.room;
    const epoll_event* const last = r.ready + r.count;
    do {
      const descriptor_table::entry* const e = plain(entries, *ready);
      Record* const after = e != nullptr ? put_each(e->first, ready->events, at, end) : nullptr;
      if (after == nullptr) return finish(home, r, ready, events, at, flags, limit);
      at = after;
    } while (++ready != last);
    home.lock_.unlock();
    return complete(events, static_cast<int>(at - events));
  }

  // What each knote of a descriptor has to say. Returns the end of the records, null if they do not
  // fit.
  static Record* put_each(const knote_record* k, std::uint32_t reported, Record* at,
                          const Record* end) noexcept {
    for (; k != nullptr; k = k->chain) {
      if ((reported & k->reported) == 0) continue;
      if (at == end) return nullptr;
      put_plain(*k, *at++);
    }
    return at;
  }

  // The long way from here: all before `ready` and `at` is delivered.
  [[gnu::noinline]] static int finish(queue& home, round& r, const epoll_event* ready,
                                      Record* events, const Record* at, unsigned flags,
                                      deadline* limit) noexcept {
    deadline own = limit_of(flags, limit);
    if (r.count == 0 && own.is_now() && home.open_for_[kind_index] == r.number) {
      home.lock_.unlock();
      return 0;
    }
    ++home.users_;
    r.sleep = true;
    r.taken = static_cast<unsigned>(ready - r.ready);
    records out(events, static_cast<int>(r.room), static_cast<unsigned>(at - events));
    return end(home, home.finish_wait(r, out, own), out);
  }

  static deadline limit_of(unsigned flags, const deadline* limit) noexcept {
    if (limit != nullptr) return *limit;
    deadline own;
    if (flags != 0) own.set_now();
    return own;
  }

  static int end(queue& home, int error, const records& out) noexcept {
    error == EBADF ? home.leave_lost() : home.leave();
    if (error == 0) return static_cast<int>(out.count());
    errno = error;
    return -1;
  }

  queue& home_;
  const int number_;
  Record* const events_;
  const unsigned room_;
  const unsigned flags_;
};

}  // namespace kedge::kqueue
