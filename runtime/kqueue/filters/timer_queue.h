// The timers of one kqueue on one clock: a heap by deadline, and a timerfd that is set to the
// earliest. A fired timer leaves the heap; a periodic one returns when it is delivered.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

class timer_queue;

// A timer knote's area. Its queue's lock is over all but `in`.
struct timer {
  static constexpr std::uint32_t not_in_heap = std::numeric_limits<std::uint32_t>::max();

  timer_queue* in;         // changes in the knote's own operations only
  std::uint64_t deadline;  // ns of the clock; 0: at once
  std::uint64_t interval;  // ns; 0: not periodic
  std::uint32_t place;     // in the heap
  bool fired;
};
static_assert(sizeof(timer) <= knote::area_size);

inline timer& timer_of(knote& note) noexcept {
  return reinterpret_cast<timer&>(note.area);
}

class timer_queue {
 public:
  // Null with errno: EMFILE, ENFILE, ENOMEM.
  static timer_queue* make(clockid_t clock) noexcept;
  timer_queue(const timer_queue&) = delete;
  timer_queue& operator=(const timer_queue&) = delete;
  ~timer_queue();

  int descriptor() const noexcept { return fd_; }

  // A knote's stay here, not started; it leaves the queue that it was in. Throws std::bad_alloc,
  // having changed nothing.
  void add(knote& note);
  void remove(knote& note) noexcept;

  // Starts or restarts the timer, and tells whether it is due already.
  bool start(knote& note, std::uint64_t deadline, std::uint64_t interval) noexcept;

  // How many periods have passed (1 if it is not periodic) of a timer that has fired, which is set
  // going again from where it should have fired if it is periodic and `again`. 0: it has not fired,
  // or was restarted since.
  std::uint64_t take(knote& note, bool again) noexcept;

  // Activates what is due. Any thread.
  void expire() noexcept;

 private:
  timer_queue(clockid_t clock, int fd) noexcept : clock_(clock), fd_(fd) {}

  void place(std::size_t i, knote& note) noexcept;
  void sift_up(std::size_t i) noexcept;
  void sift_down(std::size_t i) noexcept;
  void push(knote& note) noexcept;
  void pull(knote& note) noexcept;
  void set(bool again) noexcept;

  const clockid_t clock_;
  const int fd_;
  base::mutex lock_;          // activate() is called under it
  std::uint64_t set_to_ = 0;  // what the timerfd is set to; 0: nothing
  std::vector<knote*> heap_;
  std::size_t attached_ = 0;  // of which the heap has room for all
};

}  // namespace kedge::kqueue
