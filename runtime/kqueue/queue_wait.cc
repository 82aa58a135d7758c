// The second half of a kevent() call: waiting, and delivering.

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <mutex>

#include "kedge/kqueue/descriptor_state.h"
#include "kedge/kqueue/epoll_tag.h"
#include "kedge/kqueue/extension.h"
#include "kedge/kqueue/interruption.h"
#include "kedge/kqueue/queue.h"
#include "kedge/kqueue/timer_clock.h"

namespace kedge::kqueue {
namespace {

constexpr unsigned max_ready = 256;  // epoll events per call

// Returns their number or a negative errno.
int wait_for_events(int epoll, epoll_event* events, unsigned room, const timespec* limit) noexcept {
  const int capacity = static_cast<int>(room);
  int n = -1;
  if (limit == nullptr) {
    n = epoll_wait(epoll, events, capacity, -1);
  } else if (limit->tv_sec == 0 && limit->tv_nsec == 0) {
    n = epoll_wait(epoll, events, capacity, 0);
  } else {
    n = epoll_pwait2(epoll, events, capacity, limit, nullptr);
    if (n < 0 && errno == ENOSYS) {  // before Linux 5.11: whole milliseconds, rounded up
      const long long ms = static_cast<long long>(limit->tv_sec) * 1000 + (limit->tv_nsec + 999'999) / 1'000'000;
      n = epoll_wait(epoll, events, capacity, static_cast<int>(std::min<long long>(ms, INT32_MAX)));
    }
  }
  return n < 0 ? -errno : n;
}

}  // namespace

int queue::collect(records& out, time_limit limit) noexcept {
  const std::lock_guard hold(lock_);
  ++collectors_;
  const int error = fill(out, limit);
  --collectors_;
  if (waiting_ != 0 && !ended_ && somebody_waits()) ring();
  return error;
}

void queue::collect_active(records& out) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_ || waiting_ == 0) return;
  ++collectors_;
  deliver_active(out);
  --collectors_;
  if (waiting_ != 0 && !ended_ && somebody_waits()) ring();
}

int queue::fill(records& out, time_limit& limit) noexcept {
  for (;;) {
    if (ended_) return EBADF;
    if (clock_is_virtual() && slots_[filter_index(EVFILT_TIMER)].phase == slot_state::open) {
      run_pumps(1u << filter_index(EVFILT_TIMER));
    }

    const bool sleep = waiting_ == 0 && !limit.is_now();
    unsigned room = std::min(out.room(), max_ready);
    bool ask = true;
    if (waiting_ != 0) {
      // Both kinds of events get their share, or their turn.
      room -= std::min(active_count_, room / 2);
      if (out.room() == 1) ask = turn_ = !turn_;
    }
    bool seen_all = false;
    if (ask) {
      const int error = ask_epoll(out, room, sleep, limit, seen_all);
      if (error != 0) return error;
    }
    const bool all_busy = waiting_ != 0 && out.room() != 0 && !deliver_active(out);
    if (out.count() != 0 || (limit.is_now() && seen_all)) return 0;
    if (all_busy && waiting_ != 0) gate_.wait(lock_);
  }
}

// One epoll_wait and the delivery of what it brings. Returns an errno. A time-out that has run out makes
// `limit` now. `seen_all`: false if descriptors of our own took the room of the program's.
int queue::ask_epoll(records& out, unsigned room, bool sleep, time_limit& limit, bool& seen_all) noexcept {
  static constexpr timespec at_once{};
  epoll_event events[max_ready];
  const interruption before = interruption::current();
  const timespec* const left = sleep ? limit.left() : &at_once;
  const int number = number_;
  if (sleep) {
    ++sleepers_;
    --collectors_;
  }
  lock_.unlock();
  const int n = wait_for_events(number, events, room, left);
  lock_.lock();
  if (sleep) {
    --sleepers_;
    ++collectors_;
  }
  if (ended_) {
    rung_ = false;
    if (sleepers_ != 0) ring();
    return EBADF;
  }
  if (n < 0) {
    if (n == -EINTR) return interruption::current().only_ignored_since(before) ? 0 : EINTR;
    return EBADF;  // not an epoll descriptor: the number is another file's
  }
  if (n == 0 && sleep) limit = time_limit::now();

  std::uint32_t pumps = 0;
  bool own = false;
  const unsigned first = out.count();
  for (int i = 0; i < n; ++i) {
    const std::uint64_t tag = events[i].data.u64;
    if ((tag & own_descriptor) == 0) {
      deliver_ready(tag, events[i].events, out);
    } else {
      own = true;
      if (tag == bell_tag) {
        rung_ = false;
      } else {
        pumps |= 1u << (tag & 31);
      }
    }
  }
  seen_all = !own || static_cast<unsigned>(n) < room;
  if (pumps != 0) run_pumps(pumps);
  if ((options_ & no_data) == 0 && out.count() != first) fill_data(out, first, out.count());
  return 0;
}

void queue::deliver_ready(std::uint64_t tag, std::uint32_t events, records& out) noexcept {
  const descriptor_table::entry* const e = descriptors_.find(tag & 0x7fff'ffff);
  if (e == nullptr || e->generation != tag >> 32) return;
  bool again = false;
  const bool edge = (e->armed & EPOLLET) != 0;
  knote_record* next = nullptr;
  for (knote_record* k = e->first; k != nullptr; k = next) {
    next = k->chain;
    if (!k->polled || k->disabled || (events & events_of(*k)) == 0) continue;
    if (out.room() == 0) {
      // Its turn comes in the next call, before epoll's.
      k->active = true;
      enqueue(*k);
      continue;
    }
    kevent64_s event{k->ident, k->filter, k->flags, 0, 0, k->udata, {k->ext[0], k->ext[1]}};
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) describe_end(events, event);
    out.put(event);
    if (k->queued) dequeue(*k);
    k->active = false;
    if ((k->flags & (EV_ONESHOT | EV_DISPATCH)) != 0) {
      after_ready(*k, again);
    } else if (edge && (k->flags & EV_CLEAR) == 0) {
      again = true;
    }
  }
  // A level-triggered side under an edge-triggered registration: have epoll look again.
  if (again) descriptors_.refresh(number_, static_cast<std::uint32_t>(tag & 0x7fff'ffff), edge);
}

// A delivered ONESHOT or DISPATCH knote; `again`: its registration is to be looked at.
void queue::after_ready(knote_record& k, bool& again) noexcept {
  again = true;
  if ((k.flags & EV_ONESHOT) != 0) {
    drop(k);
  } else {
    k.disabled = true;
  }
}

// Every list once, from next_filter_ on. False if nothing could be tried: all knotes were busy.
bool queue::deliver_active(records& out) noexcept {
  bool tried = false;
  const unsigned start = next_filter_;
  for (unsigned i = 0; i < filter_count && out.room() != 0; ++i) {
    const unsigned filter = (start + i) % filter_count;
    if ((waiting_ & (1u << filter)) == 0) continue;
    next_filter_ = (filter + 1) % filter_count;
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
    for (; left != 0 && n < most && !active_[filter].empty(); --left) {
      knote_record& k = active_[filter].front();
      dequeue(k);
      if (k.busy) {
        enqueue(k);
        continue;
      }
      k.active = false;
      k.busy = true;
      batch[n++] = {&k, {k.ident, k.filter, k.flags, 0, 0, k.udata, {k.ext[0], k.ext[1]}}, false};
    }
    if (n == 0) break;
    tried = true;
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

// What a processed knote is from now on. May release the lock for a detach.
void queue::settle(const delivery& d, bool still, records& out) noexcept {
  knote_record& k = record_of(*d.note);
  if (d.fired) out.put(d.event);
  if (!k.dropped && d.fired) {
    const auto fd = static_cast<std::uint32_t>(k.ident);
    if ((d.event.flags & EV_ONESHOT) != 0) {
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

void queue::run_pumps(std::uint32_t filters) noexcept {
  for (; filters != 0; filters &= filters - 1) {
    const unsigned filter = static_cast<unsigned>(std::countr_zero(filters));
    if (slots_[filter].phase != slot_state::open) continue;
    void* const state = slots_[filter].state;
    lock_.unlock();
    filter_at(filter)->pump(state);
    lock_.lock();
  }
}

// `data` of the events that epoll reported: asked for with the lock released, by the numbers alone.
void queue::fill_data(records& out, unsigned from, unsigned to) noexcept {
  lock_.unlock();
  for (unsigned i = from; i < to; ++i) {
    out.set_data(i, amount_of(out.filter(i), out.descriptor(i)));
  }
  lock_.lock();
}

}  // namespace kedge::kqueue
