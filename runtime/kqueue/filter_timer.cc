// EVFILT_TIMER: filt_timer* of Darwin's kern_event.c. The timers of a kqueue stand in one heap by
// deadline; a timerfd, the filter's pump, is set to the earliest. A fired timer leaves the heap; a
// periodic one returns when it is delivered, and counts the periods that passed.

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <mutex>
#include <new>
#include <vector>

#include "kedge/kqueue/filter_table.h"
#include "kedge/kqueue/lock.h"
#include "kedge/kqueue/timer_clock.h"

namespace kedge::kqueue {
namespace {

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint32_t not_in_heap = std::numeric_limits<std::uint32_t>::max();

struct timer {             // a knote's area
  std::uint64_t deadline;  // ns of the clock; 0: at once
  std::uint64_t interval;  // ns; 0: not periodic
  std::uint32_t place;     // in the heap
  bool fired;
};
static_assert(sizeof(timer) <= knote::area_size);

timer& timer_of(knote& note) noexcept {
  return reinterpret_cast<timer&>(note.area);
}

// The timers of one kqueue. All under `lock`, which activate() is called under.
struct timers {
  word_lock lock;
  int fd = -1;
  std::uint64_t set_to = 0;  // what the timerfd is set to; 0: nothing
  std::vector<knote*> heap;
  std::size_t attached = 0;  // of which the heap has room for all

  void place(std::size_t i, knote& note) noexcept {
    heap[i] = &note;
    timer_of(note).place = static_cast<std::uint32_t>(i);
  }
  static bool earlier(knote& a, knote& b) noexcept {
    return timer_of(a).deadline < timer_of(b).deadline;
  }

  void sift_up(std::size_t i) noexcept {
    knote& note = *heap[i];
    for (; i != 0 && earlier(note, *heap[(i - 1) / 4]); i = (i - 1) / 4)
      place(i, *heap[(i - 1) / 4]);
    place(i, note);
  }
  void sift_down(std::size_t i) noexcept {
    knote& note = *heap[i];
    for (;;) {
      const std::size_t from = 4 * i + 1;
      if (from >= heap.size()) break;
      std::size_t least = from;
      for (std::size_t c = from + 1; c < std::min(from + 4, heap.size()); ++c) {
        if (earlier(*heap[c], *heap[least])) least = c;
      }
      if (!earlier(*heap[least], note)) break;
      place(i, *heap[least]);
      i = least;
    }
    place(i, note);
  }
  // Room for one more timer, whether it stands in the heap or has fired. Throws std::bad_alloc.
  void add_room() {
    if (heap.capacity() == attached) heap.reserve(std::max<std::size_t>(16, 2 * attached));
    ++attached;
  }
  void push(knote& note) noexcept {
    heap.push_back(&note);
    sift_up(heap.size() - 1);
  }
  void remove(knote& note) noexcept {
    const std::uint32_t i = timer_of(note).place;
    if (i == not_in_heap) return;
    timer_of(note).place = not_in_heap;
    knote& last = *heap.back();
    heap.pop_back();
    if (&last == &note) return;
    place(i, last);
    sift_up(i);
    sift_down(timer_of(last).place);
  }

  // Sets the timerfd to the earliest deadline. `again`: even if it is, which takes back its
  // readiness.
  void set(bool again = false) noexcept {
    const std::uint64_t earliest = heap.empty() ? 0 : timer_of(*heap[0]).deadline;
    if ((earliest == set_to && !again) || clock_is_virtual()) return;
    set_to = earliest;
    itimerspec when{};
    when.it_value.tv_sec = static_cast<time_t>(earliest / second);
    when.it_value.tv_nsec = static_cast<long>(earliest % second);
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, nullptr);
  }
};

timers& timers_of(const knote& note) noexcept {
  return *static_cast<timers*>(filter_state(note));
}

std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a > std::numeric_limits<std::uint64_t>::max() - b
             ? std::numeric_limits<std::uint64_t>::max()
             : a + b;
}

struct schedule {
  int error;
  std::uint64_t deadline;
  std::uint64_t interval;
};

// filt_timervalidate(). ERANGE: the count of nanoseconds does not fit.
schedule schedule_of(const kevent64_s& change) noexcept {
  std::uint64_t unit = 0;
  switch (change.fflags & (NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS | NOTE_MACHTIME)) {
    case 0:
      unit = second / 1000;
      break;
    case NOTE_SECONDS:
      unit = second;
      break;
    case NOTE_USECONDS:
      unit = 1000;
      break;
    case NOTE_NSECONDS:
    case NOTE_MACHTIME:
      unit = 1;
      break;  // Mach's absolute time is CLOCK_MONOTONIC here, 1 ns a tick
    default:
      return {EINVAL, 0, 0};
  }
  // A clock that goes on through sleep would need a second timerfd.
  if ((change.fflags & NOTE_MACH_CONTINUOUS_TIME) != 0) return {ENOTSUP, 0, 0};
  std::uint64_t length = 0;
  if ((change.fflags & NOTE_LEEWAY) != 0 && __builtin_mul_overflow(change.ext[1], unit, &length)) {
    return {ERANGE, 0, 0};
  }
  const bool absolute = (change.fflags & NOTE_ABSOLUTE) != 0;
  if (!absolute && change.data < 0) return {0, 0, 0};  // fires once, at once
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(change.data), unit, &length))
    return {ERANGE, 0, 0};
  if (!absolute) return {0, sum(timer_now(), length), length};
  if ((change.fflags & NOTE_MACHTIME) != 0) return {0, length, 0};

  // Wall time is converted once; later clock steps do not move the timer.
  timespec wall{};
  clock_gettime(CLOCK_REALTIME, &wall);
  const std::uint64_t now =
      static_cast<std::uint64_t>(wall.tv_sec) * second + static_cast<std::uint64_t>(wall.tv_nsec);
  return {0, now < length ? sum(timer_now(), length - now) : 0, 0};
}

// Starts or restarts the timer, and tells whether it is due already.
verdict start(knote& note, const schedule& s) noexcept {
  timers& all = timers_of(note);
  timer& t = timer_of(note);
  const std::lock_guard hold(all.lock);
  all.remove(note);
  t.deadline = s.deadline;
  t.interval = s.interval;
  t.fired = s.deadline <= timer_now();
  if (!t.fired) all.push(note);
  all.set();
  return {0, t.fired};
}

verdict attach(knote& note, const kevent64_s& change) {
  const schedule s = schedule_of(change);
  if (s.error != 0) return {s.error, false};
  note.flags |= EV_CLEAR;
  if ((change.fflags & NOTE_ABSOLUTE) != 0) note.flags |= EV_ONESHOT;
  timer_of(note).place = not_in_heap;
  try {
    timers& all = timers_of(note);
    const std::lock_guard hold(all.lock);
    all.add_room();
  } catch (const std::bad_alloc&) {
    return {ENOMEM, false};
  }
  return start(note, s);
}

void detach(knote& note) noexcept {
  timers& all = timers_of(note);
  const std::lock_guard hold(all.lock);
  all.remove(note);
  --all.attached;
  all.set();
}

verdict touch(knote& note, const kevent64_s& change) {
  if (((note.fflags ^ change.fflags) & NOTE_ABSOLUTE) != 0) return {EINVAL, false};
  const schedule s = schedule_of(change);
  if (s.error != 0) return {s.error, false};
  note.fflags = change.fflags;
  note.ext[1] = change.ext[1];
  return start(note, s);
}

// A fired timer's event; a periodic one is set going again from where it should have fired.
void deliver(delivery& d, timers& all) noexcept {
  timer& t = timer_of(*d.note);
  d.fired = t.fired;
  if (!t.fired) return;  // restarted since
  t.fired = false;
  d.event.data = 1;
  d.event.ext[0] = 0;
  if (t.interval == 0) return;
  const std::uint64_t periods = (timer_now() - (t.deadline - t.interval)) / t.interval;
  d.event.data = static_cast<std::int64_t>(periods);
  if ((d.note->flags & EV_ONESHOT) != 0) return;
  t.deadline = sum(t.deadline, periods * t.interval);
  all.push(*d.note);
}

void process(std::span<delivery> batch) noexcept {
  timers& all = timers_of(*batch.front().note);
  const std::lock_guard hold(all.lock);
  for (delivery& d : batch) deliver(d, all);
  all.set();
}

void pump(void* state) noexcept {
  timers& all = *static_cast<timers*>(state);
  const std::lock_guard hold(all.lock);
  const std::uint64_t now = timer_now();
  while (!all.heap.empty() && timer_of(*all.heap[0]).deadline <= now) {
    knote& note = *all.heap[0];
    all.remove(note);
    timer_of(note).fired = true;
    activate(note);
  }
  all.set(true);
}

int open(queue&, void** state, int* pump_fd) noexcept {
  timers* const all = new (std::nothrow) timers;
  if (all == nullptr) return ENOMEM;
  all->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (all->fd < 0) {
    const int error = errno;
    delete all;
    return error;
  }
  *state = all;
  *pump_fd = all->fd;
  return 0;
}

void close_timers(void* state) noexcept {
  timers* const all = static_cast<timers*>(state);
  ::close(all->fd);
  delete all;
}

}  // namespace

constinit const filter_operations timer_filter{.attach = attach,
                                               .detach = detach,
                                               .touch = touch,
                                               .process = process,
                                               .open = open,
                                               .pump = pump,
                                               .close = close_timers};

}  // namespace kedge::kqueue
