// timer: something that happens once at a deadline; timer_heap: all of a loop's timers.
//
// The heap is a 4-ary array of (deadline, order, timer): a million timers are ordinary. Timers with
// the same deadline expire in the order in which they were armed. Arming and disarming take
// logarithmic time and allocate only when the array grows. Loop's thread only.
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
  // The deadline has passed; the timer is disarmed already. May arm and disarm timers.
  virtual void expire() noexcept = 0;

  timer_heap* heap_ = nullptr;
  std::size_t position_ = 0;
};

class timer_heap {
 public:
  timer_heap() = default;
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;
  // Leaves the timers that are still armed disarmed.
  ~timer_heap();

  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }
  // The earliest deadline; there must be one.
  clock::time_point earliest() const noexcept { return entries_.front().deadline; }

  // `t` must not be armed. Throws std::bad_alloc, then it is not.
  void arm(timer& t, clock::time_point deadline);

  // Expires the timers whose deadline is not after `now`, earliest first, up to the first that was
  // armed meanwhile: it and those behind it are for the next call.
  void expire(clock::time_point now) noexcept;

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
