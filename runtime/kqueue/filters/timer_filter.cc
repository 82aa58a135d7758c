// EVFILT_TIMER: filt_timer*() of Darwin's kern_event.c, over timer_queue. Timers with
// NOTE_MACH_CONTINUOUS_TIME use another clock, so they are in another timer_queue. It is the state
// of continuous_timer_filter, an entry of the table of filters that has no knotes.
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <new>

#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/timer_queue.h"
#include "kedge/runtime/kqueue/nanoseconds.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

// Returns the timer_queue of the knote's kqueue for these fflags, or null with an errno in `error`.
// A replaced clock replaces both, so one timer_queue has all timers.
timer_queue* queue_for(const knote& note, std::uint32_t fflags, int& error) noexcept {
  queue& home = *record_of(note).home;
  if ((fflags & NOTE_MACH_CONTINUOUS_TIME) == 0 || home.clock().is_replaced()) {
    return static_cast<timer_queue*>(filter_state(note));
  }
  error = home.open_state(filter_index(continuous_timers));
  if (error != 0) return nullptr;
  return static_cast<timer_queue*>(home.state_of(filter_index(continuous_timers)));
}

struct schedule {
  int error;
  std::uint64_t deadline;
  std::uint64_t interval;
  std::uint64_t leeway;
};

clockid_t clock_for(std::uint32_t fflags) noexcept {
  return (fflags & NOTE_MACH_CONTINUOUS_TIME) != 0 ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
}

// Returns the deadline for a wall time in nanoseconds, on a clock whose time is `present`. The wall
// time is converted once, so later steps of the wall clock do not move the timer.
std::uint64_t deadline_of_wall_time(std::uint64_t wanted, std::uint64_t present) noexcept {
  const std::uint64_t now = now_of(CLOCK_REALTIME);
  return now >= wanted ? 0 : sum(present, wanted - now);
}

// Returns the nanoseconds of a unit of the change's `data`, or 0 if its fflags name two units.
std::uint64_t unit_of(std::uint32_t fflags) noexcept {
  switch (fflags & (NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS | NOTE_MACHTIME)) {
    case 0:
      return second / 1000;
    case NOTE_SECONDS:
      return second;
    case NOTE_USECONDS:
      return 1000;
    case NOTE_NSECONDS:
    case NOTE_MACHTIME:
      return 1;  // a tick of Mach's time is 1 ns here
    default:
      return 0;
  }
}

// filt_timervalidate(). ERANGE if the count of nanoseconds does not fit.
schedule schedule_of(const knote& note, const kevent64_s& change) noexcept {
  const std::uint64_t unit = unit_of(change.fflags);
  if (unit == 0) return {EINVAL, 0, 0, 0};
  const bool absolute = (change.fflags & NOTE_ABSOLUTE) != 0;
  schedule s{};
  if ((change.fflags & NOTE_LEEWAY) != 0 && __builtin_mul_overflow(change.ext[1], unit, &s.leeway))
    return {ERANGE, 0, 0, 0};
  if (!absolute && change.data < 0) return s;  // fires once, at once
  std::uint64_t length = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(change.data), unit, &length))
    return {ERANGE, 0, 0, 0};
  const std::uint64_t now = record_of(note).home->clock().now(clock_for(change.fflags));
  if (absolute) {
    const bool wall = (change.fflags & NOTE_MACHTIME) == 0;
    s.deadline = wall ? deadline_of_wall_time(length, now) : length;
  } else {
    s.interval = length;
    s.deadline = sum(now, length);
  }
  return s;
}

// Starts the timer, which is in its timer_queue. Events carry the leeway in ticks, whatever the
// unit of the change.
verdict start(knote& note, const schedule& s) noexcept {
  note.ext[1] = s.leeway;
  return {0, timer_of(note).in->start(note, s.deadline, s.interval)};
}

// A disabled timer does not run. Enabling it is a change, which sets it again.
verdict stop(knote& note, const schedule& s) noexcept {
  note.ext[1] = s.leeway;
  timer_of(note).in->stop(note);
  return {};
}

// Puts the timer into the timer_queue for these fflags. Returns 0 or an errno.
int enter_queue(knote& note, std::uint32_t fflags) noexcept {
  int error = 0;
  timer_queue* const wanted = queue_for(note, fflags, error);
  if (wanted == nullptr || wanted == timer_of(note).in) return error;
  try {
    wanted->add(note);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  return 0;
}

verdict attach(knote& note, const kevent64_s& change) {
  const schedule s = schedule_of(note, change);
  if (s.error != 0) return {s.error, false};
  if (const int error = enter_queue(note, change.fflags); error != 0) return {error, false};
  note.flags |= EV_CLEAR;
  if ((change.fflags & NOTE_ABSOLUTE) != 0) note.flags |= EV_ONESHOT;
  return (change.flags & EV_DISABLE) != 0 ? stop(note, s) : start(note, s);
}

void detach(knote& note) noexcept {
  timer_of(note).in->remove(note);
}

verdict touch(knote& note, const kevent64_s& change) {
  if (((note.fflags ^ change.fflags) & NOTE_ABSOLUTE) != 0) return {EINVAL, false};
  const schedule s = schedule_of(note, change);
  if (s.error != 0) return {s.error, false};
  if (const int error = enter_queue(note, change.fflags); error != 0) return {error, false};
  note.fflags = change.fflags;
  const bool is_disabled = record_of(note).disabled && (change.flags & EV_ENABLE) == 0;
  return is_disabled || (change.flags & EV_DISABLE) != 0 ? stop(note, s) : start(note, s);
}

void process(std::span<delivery> batch) noexcept {
  timer_queue* before = nullptr;
  for (delivery& d : batch) {
    const bool again = (d.note->flags & (EV_ONESHOT | EV_DISPATCH)) == 0;
    timer_queue* const timers = timer_of(*d.note).in;
    if (before != nullptr && before != timers) before->settle();
    before = timers;
    const std::uint64_t periods = timers->take(*d.note, again);
    d.fired = periods != 0;
    d.event.data = static_cast<std::int64_t>(periods);
    d.event.ext[0] = 0;
  }
  before->settle();
}

verdict refuse(knote&, const kevent64_s&) {
  return {ENOTSUP, false};
}

int open_on(clockid_t clock, const queue& home, void** state, int* pump_fd) noexcept {
  timer_queue* const timers = timer_queue::make(clock, home.clock());
  if (timers == nullptr) return errno;
  *state = timers;
  *pump_fd = timers->fd();
  return 0;
}
int open(queue& home, void** state, int* pump_fd) noexcept {
  return open_on(CLOCK_MONOTONIC, home, state, pump_fd);
}
int open_continuous(queue& home, void** state, int* pump_fd) noexcept {
  return open_on(CLOCK_BOOTTIME, home, state, pump_fd);
}

void pump(void* state) noexcept {
  static_cast<timer_queue*>(state)->expire();
}

bool is_due(void* state) noexcept {
  return static_cast<timer_queue*>(state)->is_due();
}

std::uint64_t next_due(void* state) noexcept {
  return static_cast<timer_queue*>(state)->next_due();
}

void close(void* state) noexcept {
  delete static_cast<timer_queue*>(state);
}

}  // namespace

constinit const filter_operations timer_filter{.attach = attach,
                                               .detach = detach,
                                               .touch = touch,
                                               .process = process,
                                               .open = open,
                                               .pump = pump,
                                               .is_due = is_due,
                                               .next_due = next_due,
                                               .close = close};

constinit const filter_operations continuous_timer_filter{.attach = refuse,
                                                          .open = open_continuous,
                                                          .pump = pump,
                                                          .is_due = is_due,
                                                          .next_due = next_due,
                                                          .close = close};

}  // namespace kedge::kqueue
