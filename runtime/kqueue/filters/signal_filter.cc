// EVFILT_SIGNAL: filt_sig*() of Darwin's kern_sig.c, over signal_watch.
#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>
#include <ranges>
#include <span>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/filters/timer_queue.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

// The area of a knote. The lock of signal_knotes guards it.
struct watched_signal {
  std::uint32_t count;
  bool disabled;
};
static_assert(sizeof(watched_signal) <= knote::area_size);

watched_signal& signal_of(knote& note) noexcept {
  return reinterpret_cast<watched_signal&>(note.area);
}
std::uint32_t& count_of(knote& note) noexcept {
  return signal_of(note).count;
}

// The signal knotes of one kqueue, guarded by `lock`. activate() is called under it.
struct signal_knotes {
  base::mutex lock;
  signal_watch* watch;
  std::vector<knote*> notes;

  bool watches(std::uint64_t signal) const noexcept {
    for (const knote* note : notes) {
      if (note->ident == signal) return true;
    }
    return false;
  }
};

signal_knotes& knotes_of(const knote& note) noexcept {
  return *static_cast<signal_knotes*>(filter_state(note));
}

// Darwin accepts any ident. One that is not a signal never comes.
bool can_come(const knote& note) noexcept {
  return note.ident > 0 && note.ident < signal_count;
}

// What the watch has counted of one signal.
struct arrivals {
  signal_watch::arrival first;
  unsigned signal;
  std::uint32_t count;
};

// A signal whose knotes are all disabled is counted, but wakes no thread.
void update_waking(signal_knotes& all, const knote& changed) noexcept {
  if (!can_come(changed)) return;
  bool is_waking = false;
  for (knote* note : all.notes) {
    if (note->ident == changed.ident && !signal_of(*note).disabled) is_waking = true;
  }
  all.watch->set_waking(static_cast<unsigned>(changed.ident), is_waking);
}

// Adds what the watch has counted to the present knotes. Activates them in the order in which the
// signals came, after the timers that were due before; of one signal the newest first, as
// KNOTE_ATTACH() puts them.
void take_counts(signal_knotes& all) noexcept {
  std::uint64_t done = 0;
  arrivals found[signal_count];
  std::size_t n = 0;
  for (const knote* first : all.notes) {
    if (!can_come(*first) || (done >> (first->ident - 1) & 1) != 0) continue;
    done |= std::uint64_t{1} << (first->ident - 1);
    const auto signal = static_cast<unsigned>(first->ident);
    const signal_watch::arrival first_one = all.watch->arrival_of(signal);
    const std::uint32_t count = all.watch->take_count(signal);
    if (count != 0) found[n++] = {first_one, signal, count};
  }
  if (n == 0) return;
  std::ranges::sort(std::span(found, n), [](const arrivals& a, const arrivals& b) {
    return static_cast<std::int32_t>(a.first.place - b.first.place) < 0;
  });
  auto* const timers = static_cast<timer_queue*>(
      record_of(*all.notes.front()).home->open_state_of(filter_index(EVFILT_TIMER)));
  for (const arrivals& each : std::span(found, n)) {
    if (timers != nullptr) timers->expire_until(each.first.time);
    for (knote* note : all.notes | std::views::reverse) {
      if (note->ident != each.signal) continue;
      count_of(*note) += each.count;
      activate(*note);
    }
  }
}

verdict attach(knote& note, const kevent64_s& change) {
  note.flags |= EV_CLEAR;
  note.data = 0;
  signal_of(note).disabled = (change.flags & EV_DISABLE) != 0;
  signal_knotes& all = knotes_of(note);
  const std::lock_guard hold(all.lock);
  if (!all.notes.empty()) {  // signals that came before this knote count only for the others
    all.watch->drain();
    take_counts(all);
  }
  try {
    all.notes.push_back(&note);
  } catch (const std::bad_alloc&) {
    return {ENOMEM, false};
  }
  update_waking(all, note);
  if (can_come(note)) all.watch->begin(static_cast<unsigned>(note.ident));
  return {};
}

void detach(knote& note) noexcept {
  signal_knotes& all = knotes_of(note);
  const std::lock_guard hold(all.lock);
  std::erase(all.notes, &note);
  update_waking(all, note);
  if (can_come(note) && !all.watches(note.ident)) all.watch->end(static_cast<unsigned>(note.ident));
}

verdict touch(knote& note, const kevent64_s& change) {
  signal_knotes& all = knotes_of(note);
  const std::lock_guard hold(all.lock);
  bool& disabled = signal_of(note).disabled;
  const bool was_disabled = disabled;
  if ((change.flags & EV_ENABLE) != 0) disabled = false;
  if ((change.flags & EV_DISABLE) != 0) disabled = true;
  if (disabled != was_disabled) {
    update_waking(all, note);
    take_counts(all);
  }
  return {0, count_of(note) != 0};
}

void process(std::span<delivery> batch) noexcept {
  signal_knotes& all = knotes_of(*batch.front().note);
  const std::lock_guard hold(all.lock);
  for (delivery& d : batch) {
    d.event.data = count_of(*d.note);
    d.fired = d.event.data != 0;
    count_of(*d.note) = 0;
    if (!d.fired || (d.note->flags & EV_DISPATCH) == 0) continue;
    signal_of(*d.note).disabled = true;
    update_waking(all, *d.note);
  }
}

void pump(void* state) noexcept {
  signal_knotes& all = *static_cast<signal_knotes*>(state);
  const std::lock_guard hold(all.lock);
  all.watch->drain();
  take_counts(all);
}

bool is_due(void* state) noexcept {
  return static_cast<signal_knotes*>(state)->watch->has_arrived();
}

int open(queue& home, void** state, int* pump_fd) noexcept {
  signal_watch* const watch = signal_watch::take(home.clock());
  if (watch == nullptr) return errno;
  signal_knotes* const all = new (std::nothrow) signal_knotes{{}, watch, {}};
  if (all == nullptr) {
    watch->give_back();
    return ENOMEM;
  }
  *state = all;
  *pump_fd = watch->fd();
  return 0;
}

void close(void* state) noexcept {
  signal_knotes* const all = static_cast<signal_knotes*>(state);
  all->watch->give_back();
  delete all;
}

}  // namespace

constinit const filter_operations signal_filter{.attach = attach,
                                                .detach = detach,
                                                .touch = touch,
                                                .process = process,
                                                .open = open,
                                                .pump = pump,
                                                .is_due = is_due,
                                                .close = close};

}  // namespace kedge::kqueue
