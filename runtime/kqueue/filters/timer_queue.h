// timer_queue: the timers of one kqueue on one clock. A heap (of degree 4) ordered by deadline, and
// a timerfd that is set to the earliest deadline. Of timers with one deadline, the one that was
// started first fires first. A timer that fires leaves the heap; a periodic timer returns to it
// when its event is delivered.
//
// Threads: any. activate() is called under the queue's lock.
#pragma once

#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter.h"
#include "kedge/runtime/kqueue/filters/timer_clock.h"

namespace kedge::kqueue {

class timer_queue;

// The area of a timer knote. The lock of its timer_queue guards all but `in`, which changes only in
// the knote's own operations.
struct timer {
  static constexpr std::uint32_t not_in_heap = std::numeric_limits<std::uint32_t>::max();

  timer_queue* in;
  std::uint64_t deadline;  // ns of the clock, 0: at once
  std::uint64_t interval;  // ns, 0: not periodic
  std::uint64_t start;     // counts the starts of the timer_queue
  std::uint32_t place;     // in the heap, or not_in_heap
  bool fired;
};
static_assert(sizeof(timer) <= knote::area_size);

inline timer& timer_of(knote& note) noexcept {
  return reinterpret_cast<timer&>(note.area);
}

class timer_queue {
 public:
  // `clock` of `source`, which is the kqueue's. Returns null with errno: EMFILE, ENFILE, ENOMEM.
  static timer_queue* make(clockid_t clock, const timer_clock& source) noexcept;
  timer_queue(const timer_queue&) = delete;
  timer_queue& operator=(const timer_queue&) = delete;
  ~timer_queue();

  int fd() const noexcept { return fd_; }

  // Adds a knote, whose timer is not started. The knote leaves the timer_queue that it was in.
  // Throws std::bad_alloc and then has changed nothing.
  void add(knote& note);
  void remove(knote& note) noexcept;

  // Starts or restarts the timer. Returns whether it is due already.
  bool start(knote& note, std::uint64_t deadline, std::uint64_t interval) noexcept;

  // Ends the timer, which start() may start again.
  void stop(knote& note) noexcept;

  // Returns how many periods of a fired timer have passed (1 if it is not periodic), or 0 if it has
  // not fired, or was restarted since. With `again` a periodic timer continues, counted from when
  // it should have fired. To be followed by settle().
  std::uint64_t take(knote& note, bool again) noexcept;

  // Activates the knotes of all timers that are due. If there are any, the timerfd stays readable
  // until settle(), or until a call that finds none: a periodic timer is about to return to the
  // heap, and then one timerfd_settime() does for both.
  void expire() noexcept;
  void expire_until(std::uint64_t time) noexcept;
  // Returns whether a timer is due that expire() has not seen. Takes no lock.
  bool is_due() const noexcept;

  // Returns the deadline of the first timer that has not fired, or the largest value.
  std::uint64_t next_due() const noexcept {
    const std::uint64_t earliest = earliest_.load(std::memory_order_relaxed);
    return earliest == 0 ? std::numeric_limits<std::uint64_t>::max() : earliest;
  }

  // Sets the timerfd, after calls of take().
  void settle() noexcept;

  // Returns the present time of the clock.
  std::uint64_t now() const noexcept { return source_.now(clock_); }

 private:
  timer_queue(clockid_t clock, const timer_clock& source, int fd) noexcept
      : clock_(clock), source_(source), fd_(fd) {}

  void place(std::size_t i, knote& note) noexcept;
  void sift_up(std::size_t i) noexcept;
  void sift_down(std::size_t i) noexcept;
  void push(knote& note) noexcept;
  void pull(knote& note) noexcept;
  bool pull_due(std::uint64_t time) noexcept;
  void set_timerfd() noexcept;

  const clockid_t clock_;
  const timer_clock& source_;
  const int fd_;
  base::mutex lock_;
  std::uint64_t set_to_ = 0;  // the deadline that the timerfd is set to, 0: none
  bool is_readable_ = false;  // the timerfd, though its timers have fired
  std::uint64_t starts_ = 0;
  std::atomic<std::uint64_t> earliest_{0};  // the deadline of the first timer in the heap, 0: none
  std::vector<knote*> heap_;
  std::size_t attached_ = 0;  // the number of knotes. The heap has room for all of them.
};

}  // namespace kedge::kqueue
