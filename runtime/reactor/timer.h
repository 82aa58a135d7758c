// timer: calls expire() once, at a deadline. timer_heap: all timers of a loop.
//
// The heap is a 4-ary array of 16 bytes per timer, made for a million timers: moving an entry
// touches no timer. A timer that is disarmed leaves its entry behind, without a timer, until the
// entry comes to the front or such entries are the majority. So disarming takes constant time,
// amortised; arming takes logarithmic time, and allocates only when an array grows. Timers with the
// same deadline expire in the order in which they were armed (as long as fewer than 2^31 timers are
// armed between them). The heap owns no timer; a timer disarms itself when it is destroyed.
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
  void disarm() noexcept {
    if (heap_ != nullptr) disarm_armed();
  }

 protected:
  timer() = default;
  ~timer() { disarm(); }

 private:
  friend class timer_heap;
  // The deadline has passed, and the timer has been disarmed. May arm, disarm and destroy timers.
  virtual void expire() noexcept = 0;
  void disarm_armed() noexcept;

  timer_heap* heap_ = nullptr;
  std::uint32_t slot_ = 0;
};

class timer_heap {
 public:
  timer_heap() = default;
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;
  // Disarms all timers.
  ~timer_heap();

  bool empty() const noexcept { return live_ == 0; }
  std::size_t size() const noexcept { return live_; }
  // The number of timers that have expired so far.
  std::uint64_t expired() const noexcept { return expired_; }
  // The earliest deadline. Requires that the heap is not empty. Must not be called by a timer's
  // expire().
  clock::time_point earliest() const noexcept { return entries_.front().deadline; }

  // Requires that `t` is not armed. Throws std::bad_alloc, and leaves `t` disarmed.
  void arm(timer& t, clock::time_point deadline);

  // Expires the timers whose deadline is not after `now`, the earliest first. Stops at the first
  // timer that was armed during the call; it and those behind it wait for the next call. Returns
  // false if none was due.
  bool expire(clock::time_point now) noexcept {
    return !entries_.empty() && entries_.front().deadline <= now && expire_front(now);
  }

 private:
  friend class timer;
  friend struct timer_order;  // of the tests, which cannot arm 2^31 timers
  struct entry {
    clock::time_point deadline;
    std::uint32_t order;  // of arming, modulo 2^32
    std::uint32_t slot;
    // Without a branch, which could not be predicted.
    bool before(const entry& other) const noexcept {
      const bool is_earlier = deadline < other.deadline;
      const bool is_equal = deadline == other.deadline;
      return is_earlier | (is_equal & is_older(order, other.order));
    }
  };
  static bool is_older(std::uint32_t a, std::uint32_t b) noexcept {
    return static_cast<std::int32_t>(a - b) < 0;
  }

  // Names a timer for its entry, since the entry moves and the timer must not be touched.
  union slot {
    timer* armed;             // of a slot with an entry: the timer, or null
    std::uint32_t next_free;  // of a slot without an entry
  };
  static constexpr std::uint32_t no_slot = ~std::uint32_t{0};

  bool expire_front(clock::time_point now) noexcept;
  void disarmed(std::uint32_t of_slot) noexcept;
  void add_slot();
  void free_slot(std::uint32_t i) noexcept;
  void prefetch_next() const noexcept;
  void prune() noexcept;
  void compact() noexcept;
  void pop_front() noexcept;
  void sift_up(std::size_t position, const entry& e) noexcept;
  void sift_down(std::size_t position, const entry& e) noexcept;

  std::uint64_t expired_ = 0;
  std::vector<entry> entries_;  // the first one has a timer, except within expire()
  std::vector<slot> slots_;
  std::uint32_t first_free_ = no_slot;
  std::size_t live_ = 0;
  std::uint32_t next_order_ = 0;
};

}  // namespace kedge
