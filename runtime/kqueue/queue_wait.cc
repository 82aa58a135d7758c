// Waiting and delivering, the second half of a kevent() call: kqueue_scan() and kqueue_process() of
// Darwin's kern_event.c.
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>

#include "kedge/runtime/base/outside_heap.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/epoll_call.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/interruption.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

constexpr timespec no_time{};

// How many internal descriptors epoll may report: the wakeup and the pumps.
constexpr unsigned most_internal = 1 + filter_count;

constexpr long pause_length = 10'000'000;  // ns

}  // namespace

int wait_for_events(int epoll, epoll_event* events, unsigned room,
                    const timespec* timeout) noexcept {
  if (timeout == nullptr) return wait_by_epoll(epoll, events, room, -1);
  if (timeout->tv_sec == 0 && timeout->tv_nsec == 0) return wait_by_epoll(epoll, events, room, 0);
  const int count = errno_in_result(
      [=] { return syscall(SYS_epoll_pwait2, epoll, events, room, timeout, nullptr, 0); });
  if (count != -ENOSYS) return count;
  // Before Linux 5.11: whole milliseconds, rounded up.
  const long long ms =
      static_cast<long long>(timeout->tv_sec) * 1000 + (timeout->tv_nsec + 999'999) / 1'000'000;
  return wait_by_epoll(epoll, events, room, static_cast<int>(std::min<long long>(ms, INT32_MAX)));
}

int queue::collect(event_writer& out, deadline& until) noexcept {
  ++collectors_;
  wait_round r;
  r.crowded = false;
  return collect_from(wait_again, r, out, until);
}

// collect() for a call on the fast path whose first wait is done.
int queue::finish_wait(wait_round& r, event_writer& out, deadline& until) noexcept {
  ++collectors_;
  r.wait = ++waits_;
  out.begin_round(r.wait);
  r.crowded = false;
  const int result = deliver_round(r, out, until);
  return collect_from(result, r, out, until);
}

int queue::collect_from(int result, wait_round& r, event_writer& out, deadline& until) noexcept {
  const base::outside_heap of_kernel;
  while (result == wait_again) {
    plan(r, out, until);
    if (r.room != 0) ask_epoll(r, until);
    result = deliver_round(r, out, until);
  }
  end_collecting();
  return result;
}

void queue::open_fast_path() noexcept {
  const bool is_open = active_count_ == 0 && in_old_sets_ == 0 && !ended_ && !clock_.is_replaced();
  if (!is_open || kind_ == call_kind::undecided) return;
  fast_path_fds_[index_of(kind_, (options_ & no_data) == 0)] = fd_;
}

void queue::end_collecting() noexcept {
  --collectors_;
  if (!served_.empty()) restore_served();
  open_fast_path();
  if (active_count_ == 0) {
    if (wakeup_pending_) retract_wakeup();
  } else if (!ended_ && !has_wakeup() && has_waiters()) {
    post_wakeup_unlocked();
  }
}

// Delivers the rest of the list's turn. Then decides how many of epoll's events the next round
// takes, and whether it may sleep. May release the lock.
void queue::plan(wait_round& r, event_writer& out, deadline& until) noexcept {
  if (clock_.is_replaced()) [[unlikely]]
    follow_clock(r, out, until);
  r.count = 0;
  r.taken = 0;
  out.begin_round(++waits_);
  // What the last round left there is due.
  if (out.count() == 0 && !served_.empty()) restore_served();
  if (turn_left_ != 0) deliver_turn(out);
  r.sleep = !until.is_now() && active_count_ == 0 && out.count() == 0;
  r.room = std::min(out.room(), max_ready);
  if (r.crowded && r.room != 0) r.room = std::min(r.room + most_internal, max_ready);
  out.complete();
}

// Activates the timers that are due. If the call is about to sleep, it waits first until no thread
// sleeps any more that the clock has left behind: a new sleeper would take the wakeup of that
// thread, which may be in a handler of the program. Releases the lock.
void queue::follow_clock(wait_round& r, const event_writer& out, deadline& until) noexcept {
  for (;;) {
    activate_earlier();
    until.follow(clock_);
    const bool sleeps = !until.is_over() && active_count_ == 0 && out.count() == 0;
    if (!sleeps || in_old_time_ == 0 || ended_) break;
    state_changed_.wait(lock_);
  }
  r.clock_moves = clock_moves_;
}

// Returns when the next timer of the kqueue is due; base::parker::never: it has none.
std::uint64_t queue::next_due() const noexcept {
  std::uint64_t earliest = base::parker::never;
  for (unsigned f = 0; f < filter_count; ++f) {
    const filter_slot& slot = slots_[f];
    if (slot.phase != slot_state::open || filter_at(f)->next_due == nullptr) continue;
    earliest = std::min(earliest, filter_at(f)->next_due(slot.state));
  }
  return earliest;
}

// Returns an enabled knote whose event comes from outside of what a scheduler controls: that of a
// descriptor that is not a kqueue, or of a signal or a child. Null: there is none.
const knote_record* queue::find_outside() const noexcept {
  std::size_t place = 0;
  for (const knote_record* k; (k = descriptors_.any_from(place)) != nullptr; ++place) {
    if (kqueue_registry::is_kqueue(static_cast<int>(k->ident))) continue;
    while (k != nullptr && k->disabled) k = k->chain;
    if (k != nullptr) return k;
  }
  constexpr std::int16_t others[] = {EVFILT_SIGNAL, EVFILT_PROC};
  for (const std::int16_t filter : others) {
    if (slots_[filter_index(filter)].phase != slot_state::open) continue;
    for (std::size_t bucket = 0; const knote_record* k = others_.any_from(bucket); ++bucket) {
      while (k != nullptr && (k->filter != filter || k->disabled)) k = k->chain;
      if (k != nullptr) return k;
    }
  }
  return nullptr;
}

// Asks epoll, and if it has nothing hands the thread to its scheduler. Events are then looked for
// in the next round. Releases the lock meanwhile.
void queue::ask_and_park(wait_round& r, deadline& until, base::parker& by) noexcept {
  r.sleep = false;
  ask_epoll(r, until);
  if (r.count != 0 || active_count_ != 0) return;
  ++sleepers_;
  --collectors_;
  parked_by_ = &by;
  const std::uint64_t end = std::min(until.ends_at(), next_due());
  const knote_record* const outside = find_outside();
  const int source = outside != nullptr ? outside->filter : 0;
  const std::uint64_t ident = outside != nullptr ? outside->ident : 0;
  lock_.unlock();
  if (source != 0) by.note_outside(source, ident);
  const base::parker::ended how = by.park(this, end);
  lock_.lock();
  parked_by_ = nullptr;
  ++collectors_;
  --sleepers_;
  if (how == base::parker::ended::interrupted) r.count = -EINTR;
}

// Releases the lock while it waits. When the time has run out, `until` becomes now.
void queue::ask_epoll(wait_round& r, deadline& until) noexcept {
  if (base::parker* const scheduler = r.sleep ? base::parker::of_thread() : nullptr) [[unlikely]]
    return ask_and_park(r, until, *scheduler);
  const timespec* const timeout = r.sleep ? until.remaining() : &no_time;
  r.fd = fd_;
  r.set = set_;
  r.changes = descriptors_.changes();
  if (r.sleep) {
    ++sleepers_;
    --collectors_;
  }
  interrupted = interruption::none;
  lock_.unlock();
  r.count = wait_for_events(r.fd, r.ready, r.room, timeout);
  lock_.lock();
  r.wait = ++waits_;
  if (r.sleep) {
    ++collectors_;
    --sleepers_;
  }
}

// Delivers epoll's events, from the first that is not in `out` yet, and the active knotes. Returns
// the result of the call, 0 or an errno, or wait_again.
//
// A call whose time is over returns when epoll has no more to report. If internal descriptors have
// filled its room, it asks epoll once more, with room for them too (`crowded`): a pump may be
// readable whenever it is asked.
int queue::deliver_round(wait_round& r, event_writer& out, deadline& until) noexcept {
  bool seen_all = false;
  bool is_stuck = false;
  if (r.room != 0) {
    const int error = deliver_reported(r, out, seen_all, is_stuck);
    if (error != 0) return error;
    if (r.sleep && r.count == 0) until.set_now();
  }
  bool all_busy = false;
  if (active_count_ != 0 && out.room() != 0) {
    all_busy = !deliver_list(out, UINT32_MAX);
  } else if (active_count_ != 0 && turn_left_ == 0 && !wakeup_pending_) {
    // epoll's events have taken the room, and will not say when it is the list's turn.
    turn_left_ = active_count_;
  }
  if (out.count() != 0 || (seen_all && until.is_now())) return 0;
  if (is_stuck && active_count_ == 0 && !pause(until)) return EINTR;
  if (all_busy && active_count_ != 0) state_changed_.wait(lock_);
  return ended_ ? EBADF : wait_again;
}

// Wakes the next thread that has slept since before the clock moved. A write to the eventfd wakes
// one thread, and the woken thread wakes the next.
void queue::leave_old_time() noexcept {
  if (in_old_time_ == 0) return state_changed_.wake_all();
  wakeup_pending_ = false;
  post_wakeup();
}

// Sleeps between two rounds where epoll would not. Releases the lock for that time. Returns false
// if a handler of the program has run.
bool queue::pause(deadline& until) noexcept {
  const no_cancellation guard;
  timespec length{0, pause_length};
  const timespec* const left = until.remaining();
  if (left != nullptr && left->tv_sec == 0) length.tv_nsec = std::min(left->tv_nsec, pause_length);
  interrupted = interruption::none;
  lock_.unlock();
  const bool is_over = nanosleep(&length, nullptr) == 0;
  lock_.lock();
  return is_over || interrupted == interruption::ignored;
}

// What a wait means for the whole kqueue, before its events are looked at. Returns 0 or an errno.
int queue::check_wait(const wait_round& r) noexcept {
  if (ended_) {
    wakeup_pending_ = false;
    if (sleepers_ != 0) post_wakeup();
    return EBADF;
  }
  if (r.sleep && r.set != set_) leave_old_set();
  if (in_old_time_ != 0) [[unlikely]] {
    if (r.sleep && r.clock_moves != clock_moves_) --in_old_time_;
    leave_old_time();
  }
  if (r.count >= 0) return 0;
  if (r.count == -EINTR) return interrupted == interruption::ignored ? 0 : EINTR;
  // Not an epoll descriptor: the fd is another file's. Unless the kqueue has lost that fd since and
  // now uses another.
  return r.fd == fd_ ? EBADF : 0;
}

// Delivers epoll's events. Returns 0 or an errno. `seen_all`: epoll has no more to report, and
// internal descriptors took no room from the program's. `is_stuck`: epoll keeps reporting a stale
// registration that cannot be removed, so waiting would spin.
int queue::deliver_reported(wait_round& r, event_writer& out, bool& seen_all,
                            bool& is_stuck) noexcept {
  if (const int error = check_wait(r); error != 0 || r.count < 0) return error;
  const bool is_wakeup_alone = r.count == 1 && r.taken == 0 && r.ready[0].data.u64 == wakeup_tag;
  if (r.count == 0 || is_wakeup_alone) {  // the list comes next
    if (is_wakeup_alone) wakeup_pending_ = false;
    seen_all = static_cast<unsigned>(r.count) < r.room;
    r.crowded = !seen_all;
    return 0;
  }

  bool is_current = r.changes == descriptors_.changes();
  const auto count = static_cast<unsigned>(r.count);
  stale_ = false;
  bool any_internal = false;
  bool any_probe = false;
  delivery probes[max_batch];
  for (unsigned i = r.taken; i < count; ++i) {
    const std::uint64_t tag = r.ready[i].data.u64;
    if ((tag & internal_tag) == 0) {
      const std::size_t n = deliver_ready(r, r.ready[i], probes, out);
      if (n == 0) continue;
      any_probe = true;
      put_amounts(out);
      process_batch({probes, n}, out);
    } else {
      if (any_internal) continue;
      any_internal = true;
      put_amounts(out);
      run_reported_pumps(r, i);
      deliver_list(out, UINT32_MAX);
    }
    out.complete();
  }
  is_current = is_current && r.changes == descriptors_.changes();
  // Events may have been crowded out by stale events, which can be got rid of, or by events of
  // knotes whose filters may find nothing to report. Then epoll has to be asked again.
  const bool is_short =
      active_count_ != 0 || any_probe || (stale_ && (!is_current || replace_set()));
  is_stuck = stale_ && !is_short;
  r.crowded = any_internal && count == r.room;
  seen_all = count < r.room || (!any_internal && !is_short);
  put_amounts(out);
  return 0;
}

// Fills in `data` of the events that have none. Releases the lock for that.
void queue::put_amounts(event_writer& out) noexcept {
  if ((options_ & no_data) != 0 || !out.is_incomplete()) return;
  lock_.unlock();
  out.put_amounts();
  lock_.lock();
}

void queue::collect_active(event_writer& out) noexcept {
  if (active_count_ == 0) return;
  ++collectors_;
  out.begin_round(++waits_);
  deliver_active(out, UINT32_MAX);
  end_collecting();
}

// Delivers one of epoll's events to the knotes of its descriptor. Returns how many of them the
// filter has to be asked about, in `probes`, which has room for max_batch.
std::size_t queue::deliver_ready(const wait_round& r, const epoll_event& event, delivery* probes,
                                 event_writer& out) noexcept {
  const std::uint64_t tag = event.data.u64;
  const std::uint32_t events = event.events;
  const std::uint64_t fd = tag & 0x7fff'ffff;
  descriptor_table::entry* const e = descriptors_.find(fd);
  if (e == nullptr || e->generation != tag >> 32 || e->armed == 0) {
    stale_ = true;
    return 0;
  }
  std::size_t n = 0;
  const bool is_edge = (e->armed & descriptor_table::edge) != 0;
  bool again = false;
  knote_record* next = nullptr;
  for (knote_record* k = e->first; k != nullptr; k = next) {
    next = k->chain;
    // A mark of out-of-band data alone (oob_marks) is not an event of READ.
    const std::uint32_t ready = events & k->reported;
    if (ready == 0 || (ready == EPOLLPRI && !k->needs_probe)) continue;
    // Its filter has been asked since the wait, as a knote of the list.
    if (k->processed_at == r.wait && !k->active) continue;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !k->needs_probe) {
      k->needs_probe = true;
      e->plain = 0;
      if (!is_edge) again = true;
    }
    if (k->busy || out.room() == n || n == max_batch) {
      // Its filter is asked, by this call, or without room by the next one. If the knote is busy,
      // another thread may be about to report this event.
      k->active = true;
      enqueue(*k);
    } else if (k->needs_probe) {
      dequeue(*k);
      probes[n++] = begin_delivery(*k);
    } else if (deliver_polled(*k, events, is_edge, out)) {
      again = true;
    }
  }
  if (again) descriptors_.refresh(fd_, static_cast<std::uint32_t>(fd), is_edge);
  return n;
}

// Writes the event of a polled knote. Returns true if its registration has to be refreshed.
bool queue::deliver_polled(knote_record& k, std::uint32_t events, bool is_edge,
                           event_writer& out) noexcept {
  kevent64_s event{k.ident, k.filter, k.flags, 0, 0, k.udata, {k.ext[0], k.ext[1]}};
  if ((events & k.reported & EPOLLRDHUP) != 0) {
    event.flags |= EV_EOF;
  } else if ((events & k.reported & EPOLLPRI) != 0) {
    event.fflags = NOTE_OOB;
  }
  out.put(event);
  dequeue(k);
  k.active = false;
  if ((k.flags & (EV_ONESHOT | EV_DISPATCH)) != 0) {
    const bool is_oneshot = (k.flags & EV_ONESHOT) != 0;
    if (is_oneshot && !is_dispatch2(k)) {
      drop_polled(k);
    } else {
      k.disabled = true;
      k.ending = is_oneshot;
    }
    return true;
  }
  // A level-triggered knote under an edge-triggered registration: epoll has to look again.
  return (k.flags & EV_CLEAR) == 0 && is_edge;
}

// Delivers the front of the list before epoll is asked. Descriptors wait for epoll, which may be
// about to report the same event.
void queue::deliver_turn(event_writer& out) noexcept {
  const std::uint32_t most = std::min(turn_left_, out.room());
  std::uint32_t n = 0;
  for (knote_record* k = active_.front(); n != most && k != nullptr && !k->polled;
       k = knote_list::after(*k)) {
    ++n;
  }
  const std::uint32_t rest = n == most ? turn_left_ - n : 0;
  deliver_list(out, n);
  turn_left_ = rest;
}

// deliver_active() for a call that asks epoll too: an event of a signal has all of its count.
bool queue::deliver_list(event_writer& out, std::uint32_t most) noexcept {
  if (sources_ != 0) pump_if_due(filter_index(EVFILT_SIGNAL));
  return deliver_active(out, most);
}

// Delivers each of the first `most` knotes of the list at most once. Releases the lock while
// filters work. Returns false if all knotes were busy.
bool queue::deliver_active(event_writer& out, std::uint32_t most) noexcept {
  bool tried = false;
  std::uint32_t left = std::min(most, active_count_);
  while (left != 0 && out.room() != 0 && active_count_ != 0) {
    delivery batch[max_batch];
    const std::size_t n = take_batch(left, batch, out, tried);
    if (n != 0) process_batch({batch, n}, out);
  }
  turn_left_ = std::min(left, active_count_);
  return tried;
}

// Takes the next of the `left` first knotes for `process`: max_batch at most, all of one filter.
// Returns how many. A knote that reports its end is delivered here, alone. `tried`: not all knotes
// were busy.
std::size_t queue::take_batch(std::uint32_t& left, delivery* batch, event_writer& out,
                              bool& tried) noexcept {
  const std::size_t most = std::min<std::size_t>(out.room(), max_batch);
  std::size_t n = 0;
  for (; left != 0 && n < most && active_count_ != 0; --left) {
    knote_record& k = *active_.front();
    const bool is_ending = k.ending || k.vanished;
    if (n != 0 && (is_ending || k.filter != batch->note->filter)) break;
    dequeue(k);
    if (k.busy) {
      enqueue(k);
      continue;
    }
    tried = true;
    // Processed since the round began, perhaps by another call, which has moved waits_ on and put
    // back what this call has delivered.
    const bool may_be_out = k.processed_at - out.round() <= waits_ - out.round();
    if (k.processed_at == waits_ || (may_be_out && out.count() != 0)) {
      // Active since this call has asked its filter. A call reports a knote once.
      enqueue_served(k);
      continue;
    }
    if (is_ending) {
      --left;
      report_end(k, out);
      break;
    }
    batch[n++] = begin_delivery(k);
  }
  return n;
}

// Makes a knote, which is in no list, busy for `process`.
delivery queue::begin_delivery(knote_record& k) noexcept {
  k.active = false;
  k.busy = true;
  k.processed_at = waits_;
  const auto flags = static_cast<std::uint16_t>(k.flags & ~EV_VANISHED);
  return {&k, {k.ident, k.filter, flags, 0, 0, k.udata, {k.ext[0], k.ext[1]}}, false};
}

// Runs `process`, and `peek` where the answer matters, with the lock released.
void queue::process_batch(std::span<delivery> batch, event_writer& out) noexcept {
  const filter_operations& operations = *filter_at(filter_index(batch.front().note->filter));
  bool still_active[max_batch];
  const bool peek = operations.peek != nullptr && has_waiters();
  lock_.unlock();
  operations.process(batch);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const bool level = (batch[i].note->flags & EV_CLEAR) == 0;
    still_active[i] = batch[i].fired && level && (!peek || operations.peek(*batch[i].note));
  }
  lock_.lock();
  for (std::size_t i = 0; i < batch.size(); ++i) finish_delivery(batch[i], still_active[i], out);
}

// Writes EV_VANISHED for a knote whose descriptor is closed, or EV_DELETE, which is the last event
// of an EV_DISPATCH2 knote. May release the lock for a detach.
void queue::report_end(knote_record& k, event_writer& out) noexcept {
  const auto end = static_cast<std::uint16_t>(k.ending ? EV_DELETE : EV_VANISHED);
  const auto flags = static_cast<std::uint16_t>(EV_DISPATCH2 | EV_ONESHOT | end);
  out.put({k.ident, k.filter, flags, 0, 0, k.udata, {0, 0}});
  if (!k.ending) {
    k.active = false;
    k.disabled = k.ending = true;
    return;
  }
  drop(k);
}

// Writes the event of a processed knote, if it fired, and decides what the knote is after it. May
// release the lock for a detach.
void queue::finish_delivery(delivery& d, bool still_active, event_writer& out) noexcept {
  knote_record& k = record_of(*d.note);
  if ((d.event.flags & EV_VANISHED) != 0) d.event.flags = EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED;
  if (!d.fired) return end_operation(k);
  out.put(d.event);
  const auto fd = static_cast<std::uint32_t>(k.ident);
  const bool is_oneshot = (d.event.flags & EV_ONESHOT) != 0;
  if (is_oneshot || (k.flags & EV_DISPATCH) != 0) {
    if (is_oneshot && !is_dispatch2(k)) {
      unlink(k);
    } else {
      k.disabled = true;
      if (is_oneshot) k.ending = true;
      dequeue(k);
    }
    if (k.polled) descriptors_.refresh(fd_, fd, false);
  } else if (k.polled) {
    if ((k.flags & EV_CLEAR) == 0) descriptors_.refresh(fd_, fd, true);
  } else if (still_active) {
    k.active = true;
    if (!k.disabled) enqueue_served(k);
  }
  end_operation(k);
}

// Takes epoll's events of internal descriptors, of which `first` is the first. Releases the lock
// while a pump runs.
void queue::run_reported_pumps(const wait_round& r, unsigned first) noexcept {
  for (unsigned i = first; i < static_cast<unsigned>(r.count); ++i) {
    const std::uint64_t tag = r.ready[i].data.u64;
    if ((tag & internal_tag) == 0) continue;
    if (tag == wakeup_tag) {
      wakeup_pending_ = false;
      continue;
    }
    const auto filter = static_cast<unsigned>(tag & 31);
    // The signals first: they know which timers were due before them.
    if (filter == filter_index(EVFILT_TIMER)) pump_if_due(filter_index(EVFILT_SIGNAL));
    run_pumps(1u << filter);
  }
}

// Runs the pump of a filter that has something to activate. Releases the lock for that.
void queue::pump_if_due(unsigned filter) noexcept {
  if ((sources_ >> filter & 1) != 0 && filter_at(filter)->is_due(slots_[filter].state))
    run_pumps(1u << filter);
}

// Releases the lock while a pump runs.
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
    state_changed_.wake_all();
  }
}

}  // namespace kedge::kqueue
