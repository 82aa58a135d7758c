// EVFILT_SIGNAL: filt_sig*() of Darwin's kern_sig.c, over signal_watch.
#include <cerrno>
#include <mutex>
#include <new>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"

namespace kedge::kqueue {
namespace {

std::uint32_t& count_of(knote& note) noexcept {
  return reinterpret_cast<std::uint32_t&>(note.area);
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

// Adds what the watch has counted to the present knotes.
void take_counts(signal_knotes& all) noexcept {
  std::uint64_t done = 0;
  for (const knote* first : all.notes) {
    if (!can_come(*first) || (done >> (first->ident - 1) & 1) != 0) continue;
    done |= std::uint64_t{1} << (first->ident - 1);
    const std::uint32_t count = all.watch->take_count(static_cast<unsigned>(first->ident));
    if (count == 0) continue;
    for (knote* note : all.notes) {
      if (note->ident != first->ident) continue;
      count_of(*note) += count;
      activate(*note);
    }
  }
}

verdict attach(knote& note, const kevent64_s&) {
  note.flags |= EV_CLEAR;
  note.data = 0;
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
  if (can_come(note)) all.watch->begin(static_cast<unsigned>(note.ident));
  return {};
}

void detach(knote& note) noexcept {
  signal_knotes& all = knotes_of(note);
  const std::lock_guard hold(all.lock);
  std::erase(all.notes, &note);
  if (can_come(note) && !all.watches(note.ident)) all.watch->end(static_cast<unsigned>(note.ident));
}

verdict touch(knote& note, const kevent64_s&) {
  signal_knotes& all = knotes_of(note);
  const std::lock_guard hold(all.lock);
  return {0, count_of(note) != 0};
}

void process(std::span<delivery> batch) noexcept {
  signal_knotes& all = knotes_of(*batch.front().note);
  const std::lock_guard hold(all.lock);
  for (delivery& d : batch) {
    d.event.data = count_of(*d.note);
    d.fired = d.event.data != 0;
    count_of(*d.note) = 0;
  }
}

void pump(void* state) noexcept {
  signal_knotes& all = *static_cast<signal_knotes*>(state);
  const std::lock_guard hold(all.lock);
  all.watch->drain();
  take_counts(all);
}

int open(queue&, void** state, int* pump_fd) noexcept {
  signal_watch* const watch = signal_watch::take();
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
                                                .close = close};

}  // namespace kedge::kqueue
