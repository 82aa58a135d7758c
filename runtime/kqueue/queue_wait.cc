// The second half of a kevent() call: waiting, and delivering.

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>

#include "kedge/runtime/kqueue/epoll_call.h"
#include "kedge/runtime/kqueue/epoll_tag.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/filters/timer_clock.h"
#include "kedge/runtime/kqueue/interruption.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"
#include "kedge/runtime/kqueue/queue.h"
#include "kedge/runtime/kqueue/queue_wait.h"

namespace kedge::kqueue {
namespace {

constexpr timespec at_once{};

constexpr long pause_length = 10'000'000;  // ns

}  // namespace

int wait_for_events(int epoll, epoll_event* events, unsigned room, const timespec* limit) noexcept {
  if (limit == nullptr) return wait_by_epoll(epoll, events, room, -1);
  if (limit->tv_sec == 0 && limit->tv_nsec == 0) return wait_by_epoll(epoll, events, room, 0);
  const int count = errno_in_result(
      [=] { return syscall(SYS_epoll_pwait2, epoll, events, room, limit, nullptr, 0); });
  if (count != -ENOSYS) return count;
  // Before Linux 5.11: whole milliseconds, rounded up.
  const long long ms =
      static_cast<long long>(limit->tv_sec) * 1000 + (limit->tv_nsec + 999'999) / 1'000'000;
  return wait_by_epoll(epoll, events, room, static_cast<int>(std::min<long long>(ms, INT32_MAX)));
}

int queue::collect(records& out, deadline& limit) noexcept {
  ++collectors_;
  return collect_from(one_more_round, out, limit);
}

// collect() for a call whose first wait is done.
int queue::finish_wait(const round& r, records& out, deadline& limit) noexcept {
  ++collectors_;
  return collect_from(deliver_round(r, out, limit), out, limit);
}

int queue::collect_from(int result, records& out, deadline& limit) noexcept {
  while (result == one_more_round) {
    round r;
    plan(r, out.room(), limit);
    if (r.room != 0) ask_epoll(r, limit);
    result = deliver_round(r, out, limit);
  }
  end_delivery();
  return result;
}

void queue::open_short_way() noexcept {
  const bool is_open = waiting_ == 0 && in_old_sets_ == 0 && !ended_ && !clock_is_virtual();
  if (!is_open || kind_ == call_kind::undecided) return;
  open_for_[index_of(kind_, (options_ & no_data) == 0)] = number_;
}

void queue::end_delivery() noexcept {
  --collectors_;
  open_short_way();
  if (waiting_ != 0 && !ended_ && !has_rung() && somebody_waits()) ring_released();
}

// What the next round may bring, and whether it may sleep.
void queue::plan(round& r, unsigned room, const deadline& limit) noexcept {
  if (clock_is_virtual()) {
    run_pumps(1u << filter_index(EVFILT_TIMER) | 1u << filter_index(continuous_timer_number));
  }
  r.count = 0;
  r.taken = 0;
  r.sleep = !limit.is_now();
  if (waiting_ != 0) {
    // Both kinds of events get their share, or with room for one their turn.
    r.sleep = false;
    if (room > 1) {
      room -= std::min(active_count_, room / 2);
    } else if (!(turn_ = !turn_)) {
      room = 0;
    }
  }
  r.room = std::min(room, max_ready);
}

// A time-out that has run out makes `limit` now.
void queue::ask_epoll(round& r, deadline& limit) noexcept {
  const timespec* const left = r.sleep ? limit.left() : &at_once;
  r.number = number_;
  r.set = set_;
  r.changes = descriptors_.changes();
  if (r.sleep) {
    ++sleepers_;
    --collectors_;
  }
  interrupted = interruption::none;
  lock_.unlock();
  r.count = wait_for_events(r.number, r.ready, r.room, left);
  lock_.lock();
  if (r.sleep) {
    ++collectors_;
    --sleepers_;
  }
}

// Delivers what epoll has brought, from the first event on that is not in `out` yet, and then what
// is active in user space. Returns the result of the call, 0 or an errno, or one_more_round.
int queue::deliver_round(const round& r, records& out, deadline& limit) noexcept {
  bool seen_all = false;  // of the program's descriptors: none of our own took their room
  bool is_stuck = false;
  if (r.room != 0) {
    const int error = deliver_reported(r, out, seen_all, is_stuck);
    if (error != 0) return error;
    if (r.sleep && r.count == 0) limit.set_now();
  }
  const bool all_busy = waiting_ != 0 && out.room() != 0 && !deliver_active(out);
  if (out.count() != 0 || (seen_all && limit.is_now())) return 0;
  if (is_stuck && waiting_ == 0 && !pause(limit)) return EINTR;
  if (all_busy && waiting_ != 0) gate_.wait(lock_);
  return ended_ ? EBADF : one_more_round;
}

// Between two looks at what epoll has, if asking it would not sleep. False: a handler has run.
bool queue::pause(deadline& limit) noexcept {
  const no_cancellation here;
  timespec length{0, pause_length};
  const timespec* const left = limit.left();
  if (left != nullptr && left->tv_sec == 0) length.tv_nsec = std::min(left->tv_nsec, pause_length);
  interrupted = interruption::none;
  lock_.unlock();
  const bool is_over = nanosleep(&length, nullptr) == 0;
  lock_.lock();
  return is_over || interrupted == interruption::ignored;
}

// `seen_all`: there is nothing else that epoll would tell. `is_stuck`: it tells of a registration
// that is no more and cannot be got rid of, and would do so at once.
int queue::deliver_reported(const round& r, records& out, bool& seen_all, bool& is_stuck) noexcept {
  if (ended_) {
    rung_ = false;
    if (sleepers_ != 0) ring();
    return EBADF;
  }
  if (r.sleep && r.set != set_) leave_old_set();
  if (r.count < 0) {
    // Anything else than EINTR: not an epoll descriptor, the number is another file's. Unless the
    // kqueue has lost that number and goes by another.
    if (r.count != -EINTR) return r.number == number_ ? EBADF : 0;
    return interrupted == interruption::ignored ? 0 : EINTR;
  }

  const bool is_current = r.changes == descriptors_.changes();
  const auto count = static_cast<unsigned>(r.count);
  stale_ = false;
  std::uint32_t own = 0;
  for (unsigned i = r.taken; i < count; ++i) {
    const std::uint64_t tag = r.ready[i].data.u64;
    if ((tag & own_descriptor) == 0) {
      deliver_ready(tag, r.ready[i].events, out);
    } else {
      own |= 1u << (tag & 31);
    }
  }
  // What stale events took the room of is looked at again, if they can be got rid of; so is what
  // events took it of that filters may find nothing in.
  const bool is_short = waiting_ != 0 || (stale_ && (!is_current || renew_set()));
  is_stuck = stale_ && !is_short;
  seen_all = count < r.room || (own == 0 && !is_short);
  if (own != 0) answer_own(own);
  if ((options_ & no_data) == 0 && out.count() != 0) {
    lock_.unlock();
    out.put_amounts();
    lock_.lock();
  }
  return 0;
}

void queue::collect_active(records& out) noexcept {
  if (waiting_ == 0) return;
  ++collectors_;
  deliver_active(out);
  end_delivery();
}

void queue::deliver_ready(std::uint64_t tag, std::uint32_t events, records& out) noexcept {
  const std::uint64_t fd = tag & 0x7fff'ffff;
  descriptor_table::entry* const e = descriptors_.find(fd);
  if (e == nullptr || e->generation != tag >> 32 || e->armed == 0) {
    stale_ = true;
    return;
  }
  bool again = false;
  knote_record* next = nullptr;
  for (knote_record* k = e->first; k != nullptr; k = next) {
    next = k->chain;
    if ((events & k->reported) == 0) continue;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !k->examined) {
      k->examined = true;
      e->plain = 0;
      if ((e->armed & descriptor_table::edge) == 0) again = true;
    }
    if (k->examined || k->busy || out.room() == 0) {
      // Its filter is asked: by this call, or if there is no room by the next one, before epoll.
      // Of a busy one another thread may be about to report just this.
      k->active = true;
      enqueue(*k);
      continue;
    }
    kevent64_s event{k->ident, k->filter, k->flags, 0, 0, k->udata, {k->ext[0], k->ext[1]}};
    if ((events & k->reported & EPOLLRDHUP) != 0) event.flags |= EV_EOF;
    out.put(event);
    if (k->queued) dequeue(*k);
    k->active = false;
    if ((k->flags & (EV_ONESHOT | EV_DISPATCH | EV_CLEAR)) != 0) {
      if ((k->flags & (EV_ONESHOT | EV_DISPATCH)) != 0) again = true;
      if ((k->flags & EV_ONESHOT) != 0 && !is_dispatch2(*k)) {
        drop(*k);
      } else if ((k->flags & (EV_ONESHOT | EV_DISPATCH)) != 0) {
        k->disabled = true;
        k->ending = (k->flags & EV_ONESHOT) != 0;
      }
    } else if ((e->armed & descriptor_table::edge) != 0) {
      again = true;  // level-triggered under an edge-triggered registration: have epoll look again
    }
  }
  if (again) {
    const bool is_edge = (e->armed & descriptor_table::edge) != 0;
    descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), is_edge);
  }
}

// Every list once, from next_filter_ on. False if nothing could be tried: all knotes were busy.
bool queue::deliver_active(records& out) noexcept {
  bool tried = false;
  for (std::uint32_t left = waiting_; left != 0 && out.room() != 0;) {
    const std::uint32_t behind = left & (~0u << next_filter_);
    const auto filter = static_cast<unsigned>(std::countr_zero(behind != 0 ? behind : left));
    left &= ~(1u << filter);
    next_filter_ = filter + 1;
    if (deliver_filter(filter, out)) tried = true;
  }
  return tried;
}

bool queue::deliver_filter(unsigned filter, records& out) noexcept {
  const filter_operations& operations = *filter_at(filter);
  bool tried = false;
  // Each knote at most once per call: those made active again stand behind the ones counted here.
  for (std::uint32_t left = active_[filter].size(); left != 0 && out.room() != 0;) {
    delivery batch[max_batch];
    bool still[max_batch];
    std::size_t n = 0;
    const std::size_t most = std::min<std::size_t>({out.room(), max_batch, left});
    std::size_t ends = 0;
    for (; left != 0 && n + ends < most && !active_[filter].empty(); --left) {
      knote_record& k = active_[filter].front();
      dequeue(k);
      if (k.busy) {
        enqueue(k);
        continue;
      }
      if (k.ending || k.vanished) {
        report_end(k, out);
        ++ends;
        continue;
      }
      k.active = false;
      k.busy = true;
      const auto flags = static_cast<std::uint16_t>(k.flags & ~EV_VANISHED);
      batch[n++] = {&k, {k.ident, k.filter, flags, 0, 0, k.udata, {k.ext[0], k.ext[1]}}, false};
    }
    if (n + ends != 0) tried = true;
    if (n == 0) break;
    const bool peek = operations.peek != nullptr && somebody_waits();
    lock_.unlock();
    operations.process({batch, n});
    for (std::size_t i = 0; i < n; ++i) {
      const bool level = (batch[i].note->flags & EV_CLEAR) == 0;
      still[i] = batch[i].fired && level && (!peek || operations.peek(*batch[i].note));
    }
    lock_.lock();
    for (std::size_t i = 0; i < n; ++i) settle(batch[i], still[i], out);
  }
  return tried;
}

// The last event of a deleted EV_DISPATCH2 knote; or, of one whose descriptor is closed, the one
// before. May release the lock for a detach.
void queue::report_end(knote_record& k, records& out) noexcept {
  const auto what = static_cast<std::uint16_t>(k.ending ? EV_DELETE : EV_VANISHED);
  const auto flags = static_cast<std::uint16_t>(EV_DISPATCH2 | EV_ONESHOT | what);
  out.put({k.ident, k.filter, flags, 0, 0, k.udata, {0, 0}});
  if (!k.ending) {
    k.active = false;
    k.disabled = k.ending = true;
    return;
  }
  k.busy = true;
  unlink(k);
  end_use(k);
}

// What a processed knote is from now on. May release the lock for a detach.
void queue::settle(delivery& d, bool still, records& out) noexcept {
  knote_record& k = record_of(*d.note);
  if ((d.event.flags & EV_VANISHED) != 0) d.event.flags = EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED;
  if (d.fired) {
    out.put(d.event);
    const auto fd = static_cast<std::uint32_t>(k.ident);
    if ((d.event.flags & EV_ONESHOT) != 0 && is_dispatch2(k)) {
      k.disabled = k.ending = true;
      dequeue(k);
      if (k.polled) descriptors_.refresh(number_, fd, false);
    } else if ((d.event.flags & EV_ONESHOT) != 0) {
      unlink(k);
      if (k.polled) descriptors_.refresh(number_, fd, false);
    } else if ((k.flags & EV_DISPATCH) != 0) {
      k.disabled = true;
      dequeue(k);
      if (k.polled) descriptors_.refresh(number_, fd, false);
    } else if (k.polled) {
      if ((k.flags & EV_CLEAR) == 0) descriptors_.refresh(number_, fd, true);
    } else if (still) {
      k.active = true;
      if (!k.disabled) enqueue(k);
    }
  }
  end_use(k);
}

// Our own descriptors that epoll reported, as bits of their tags.
void queue::answer_own(std::uint32_t own) noexcept {
  constexpr std::uint32_t bell = 1u << (bell_tag & 31);
  if ((own & bell) != 0) rung_ = false;
  if ((own & ~bell) != 0) run_pumps(own & ~bell);
}

void queue::run_pumps(std::uint32_t filters) noexcept {
  for (; filters != 0; filters &= filters - 1) {
    const unsigned filter = static_cast<unsigned>(std::countr_zero(filters));
    if (slots_[filter].phase != slot_state::open) continue;
    void* const state = slots_[filter].state;
    ++pumping_;
    lock_.unlock();
    filter_at(filter)->pump(state);
    lock_.lock();
    --pumping_;
    gate_.wake_all();
  }
}

}  // namespace kedge::kqueue
