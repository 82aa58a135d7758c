#pragma once

// The short way through a kevent() call, which nearly every call goes: no changes; nothing active
// in user space; epoll reports descriptors that are ready, and nothing else of them; `data` is not
// wanted. The queue says whether it is open (queue::open_for_). What a call meets on the way, it
// leaves to the long one.
//
// It is to cost little more than epoll_wait (README.md) and so it is written for the compiler: what
// a call has to remember lies here, not in registers that it would have to save; its loop calls
// nothing; what is seldom needed is a function of its own, called last of all.

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <type_traits>

#include "kedge/kqueue/epoll_tag.h"
#include "kedge/kqueue/interruption.h"
#include "kedge/kqueue/queue.h"
#include "kedge/kqueue/queue_wait.h"
#include "kedge/kqueue/time_limit.h"

namespace kedge::kqueue {

// `Record` is the layout of the caller's array.
template <class Record>
class short_call {
 public:
  static constexpr call_kind kind =
      std::is_same_v<Record, kevent64_s> ? call_kind::wide : call_kind::narrow;

  // `room`: from 1 to max_ready. `flags`: 0 or KEVENT_FLAG_IMMEDIATE.
  short_call(queue& home, int number, Record* events, int room, unsigned flags) noexcept
      : home_(home), events_(events), flags_(flags) {
    round_.number = number;
    round_.room = static_cast<unsigned>(room);
  }

  // Returns the result of the call, with errno.
  int run() noexcept {
    if (!home_.lock_.try_lock()) [[unlikely]]
      return take_long_way();
    if (home_.open_for_[kind_index] != round_.number) [[unlikely]]
      return turn_back();
    begin_wait();
    if (!home_.lock_.release()) [[unlikely]]
      return wake_and_wait();
    return deliver(wait());
  }

  // The same with a time-out.
  [[gnu::noinline]] int run(const timespec& timeout) noexcept {
    limit_.set(timeout);
    home_.lock_.lock();
    if (home_.open_for_[kind_index] != round_.number) return turn_back();
    begin_wait();
    home_.lock_.unlock();
    return deliver(wait_for_events(round_.number, round_.ready, round_.room, limit_.left()));
  }

 private:
  static constexpr std::size_t kind_index = queue::index_of(kind);

  void begin_wait() noexcept {
    round_.set = home_.set_;
    ++home_.sleepers_;
    interrupted = interruption::none;
  }

  int wait() noexcept {
    static_assert(KEVENT_FLAG_IMMEDIATE == 1);
    return epoll_wait(round_.number, round_.ready, static_cast<int>(round_.room),
                      static_cast<int>(flags_) - 1);
  }

  [[gnu::noinline]] int wake_and_wait() noexcept {
    home_.lock_.wake_one();
    return deliver(wait());
  }

  [[gnu::noinline]] int turn_back() noexcept {
    home_.lock_.unlock();
    return take_long_way();
  }

  [[gnu::noinline]] int take_long_way() noexcept {
    int error = home_.enter(round_.number, kind);
    if (error != 0) {
      errno = error;
      return -1;
    }
    records out(events_, static_cast<int>(round_.room));
    if (flags_ != 0) limit_.set_now();
    return end_call(home_.collect(out, limit_), out);
  }

  [[gnu::noinline]] int deliver(int count) noexcept {
    if (!home_.lock_.try_lock()) [[unlikely]]
      return wait_and_deliver(count);
    return deliver_locked(count);
  }
  [[gnu::noinline]] int wait_and_deliver(int count) noexcept {
    home_.lock_.lock();
    return deliver_locked(count);
  }
  [[gnu::always_inline]] int deliver_locked(int count) noexcept {
    --home_.sleepers_;
    const epoll_event* ready = round_.ready;
    Record* at = events_;
    if (count <= 0 || home_.open_for_[kind_index] != round_.number) [[unlikely]]
      return finish(count, ready, at);
    const descriptor_table::entry* const entries = home_.descriptors_.entries();
    const epoll_event* const last = ready + count;
    do {
      const std::uint64_t tag = ready->data.u64;
      if ((tag & own_descriptor) != 0) return finish(count, ready, at);
      const descriptor_table::entry& e = entries[static_cast<std::uint32_t>(tag)];
      if (!is_plain(e, *ready)) return finish(count, ready, at);
      if (e.first->chain != nullptr) return deliver_several(count, ready, at);
      put_plain(*e.first, *at++);
    } while (++ready != last);
    if (!home_.lock_.release()) [[unlikely]]
      return wake_and_return(count);
    return count;
  }

  // The same with descriptors that have more than one knote.
  [[gnu::noinline]] int deliver_several(int count, const epoll_event* ready, Record* at) noexcept {
    const descriptor_table::entry* const entries = home_.descriptors_.entries();
    const epoll_event* const last = round_.ready + count;
    do {
      const std::uint64_t tag = ready->data.u64;
      if ((tag & own_descriptor) != 0) return finish(count, ready, at);
      const descriptor_table::entry& e = entries[static_cast<std::uint32_t>(tag)];
      Record* const after = is_plain(e, *ready) ? put_each(e.first, ready->events, at) : nullptr;
      if (after == nullptr) return finish(count, ready, at);
      at = after;
    } while (++ready != last);
    home_.lock_.unlock();
    return static_cast<int>(at - events_);
  }

  // Whether the event asks for nothing but records.
  static bool is_plain(const descriptor_table::entry& e, const epoll_event& event) noexcept {
    const std::uint64_t tag = event.data.u64;
    return e.generation == static_cast<std::uint32_t>(tag >> 32) &&
           (event.events & ~std::uint32_t{e.plain}) == 0;
  }

  // What each knote of a descriptor has to say. Returns the end of the records, null if they do not
  // fit.
  Record* put_each(const knote_record* k, std::uint32_t events, Record* at) const noexcept {
    const Record* const end = events_ + round_.room;
    for (; k != nullptr; k = k->chain) {
      if ((events & k->reported) == 0) continue;
      if (at == end) return nullptr;
      put_plain(*k, *at++);
    }
    return at;
  }

  [[gnu::noinline]] int wake_and_return(int result) noexcept {
    home_.lock_.wake_one();
    return result;
  }

  // The long way from here: all before `ready` and `at` is delivered.
  [[gnu::noinline]] int finish(int count, const epoll_event* ready, const Record* at) noexcept {
    if (flags_ != 0) limit_.set_now();
    if (count == 0 && limit_.is_now() && home_.open_for_[kind_index] == round_.number) {
      home_.lock_.unlock();
      return 0;
    }
    ++home_.users_;
    round_.sleep = true;
    round_.count = count >= 0 ? count : -errno;
    round_.taken = static_cast<unsigned>(ready - round_.ready);
    round_.changes = home_.descriptors_.changes() - 1;  // not known any more
    records out(events_, static_cast<int>(round_.room), static_cast<unsigned>(at - events_));
    return end_call(home_.finish_wait(round_, out, limit_), out);
  }

  int end_call(int error, const records& out) noexcept {
    error == EBADF ? home_.leave_lost() : home_.leave();
    if (error == 0) return static_cast<int>(out.count());
    errno = error;
    return -1;
  }

  queue& home_;
  Record* events_;
  unsigned flags_;
  time_limit limit_;  // for ever, unless there is a time-out
  round round_;
};

}  // namespace kedge::kqueue
