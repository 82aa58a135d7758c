// timer: calls expire() once, at a deadline. timer_heap: all timers of a loop.
//
// The heap is a 4-ary array of (deadline, order, timer), made for a million timers. Timers with the
// same deadline expire in the order in which they were armed. Arming and disarming take logarithmic
// time; arming allocates only when the array grows. The heap owns no timer; a timer disarms itself
// when it is destroyed.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kedge/runtime/reactor/clock.h"

namespace kedge {

class timer_heap;

class timer {
 public:
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  bool armed() const noexcept { return heap_ != nullptr; }
  // No effect on a timer that is not armed.
  void disarm() noexcept;

 protected:
  timer() = default;
  ~timer() { disarm(); }

 private:
  friend class timer_heap;
  // The deadline has passed, and the timer has been disarmed. May arm, disarm and destroy timers.
  virtual void expire() noexcept = 0;

  timer_heap* heap_ = nullptr;
  std::size_t position_ = 0;
};

class timer_heap {
 public:
  timer_heap() = default;
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;
  // Disarms all timers.
  ~timer_heap();

  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }
  // The earliest deadline. Requires that the heap is not empty.
  clock::time_point earliest() const noexcept { return entries_.front().deadline; }

  // Requires that `t` is not armed. Throws std::bad_alloc, and leaves `t` disarmed.
  void arm(timer& t, clock::time_point deadline);

  // Expires the timers whose deadline is not after `now`, the earliest first. Stops at the first
  // timer that was armed during the call; it and those behind it wait for the next call. Returns
  // false if none was due.
  bool expire(clock::time_point now) noexcept;

 private:
  friend class timer;
  struct entry {
    clock::time_point deadline;
    std::uint64_t order;
    timer* owner;
    bool before(const entry& other) const noexcept {
      return deadline != other.deadline ? deadline < other.deadline : order < other.order;
    }
  };

  void remove(std::size_t position) noexcept;
  void place(std::size_t position, const entry& e) noexcept;
  void sift_up(std::size_t position, const entry& e) noexcept;
  void sift_down(std::size_t position, const entry& e) noexcept;

  std::vector<entry> entries_;
  std::uint64_t next_order_ = 0;
};

}  // namespace kedge
