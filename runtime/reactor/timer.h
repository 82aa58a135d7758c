// timer: calls expire() once, at a deadline. timer_heap: all timers of a loop.
//
// Made for a million timers, of which most are disarmed before their deadline. A timer that is
// armed goes into a 4-ary heap while that is small, else onto a pile without order. When the pile's
// first timer is due, the pile's due timers are sorted and expire, or, if the pile was looked
// through not long ago, all of it goes into the heap. So arming takes constant time, and a timer
// enters the heap at most once; the moves touch entries of 16 bytes, not timers. A timer that is
// disarmed leaves its entry behind, without a timer, until the entry comes to the front or such
// entries are the majority. So disarming takes constant time, amortised, and nothing allocates
// unless more timers are armed than ever before. Timers with the same deadline expire in the order
// in which they were armed (as long as fewer than 2^31 timers are armed between them). The heap
// owns no timer; a timer disarms itself when it is destroyed.
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
  // The earliest deadline. Requires that the heap is not empty.
  clock::time_point earliest() const noexcept { return first_.deadline; }

  // Requires that `t` is not armed. Throws std::bad_alloc, and leaves `t` disarmed.
  void arm(timer& t, clock::time_point deadline);

  // Expires the timers whose deadline is not after `now`, the earliest first. Stops at the first
  // timer that was armed during the call; it and those behind it wait for the next call. Returns
  // false if none was due. Must not be called by a timer's expire().
  bool expire(clock::time_point now) noexcept {
    return live_ != 0 && first_.deadline <= now && expire_due(now);
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
  // The timer of an entry; 0: it was disarmed. A slot without an entry has an odd value, twice the
  // next such slot's index plus 1.
  using slot = std::uintptr_t;

  bool is_dead(const entry& e) const noexcept { return slots_[e.slot] == 0; }
  timer* timer_of(const entry& e) const noexcept {
    return reinterpret_cast<timer*>(slots_[e.slot]);
  }
  std::size_t pile_size() const noexcept { return entries_.size() - pile_begin_; }
  // The run's next entry. Requires that there is a run.
  const entry& next_of_run() const noexcept { return entries_[pile_begin_ - 1]; }

  [[gnu::noinline]] void arm_after_growth(timer& t, clock::time_point deadline);
  void grow();
  void disarmed(std::uint32_t slot) noexcept;
  void free_slot(std::uint32_t slot) noexcept;
  bool expire_due(clock::time_point now) noexcept;
  void end_run() noexcept;
  void close_gap() noexcept;
  void prefetch_heap() const noexcept;
  void prefetch_run() const noexcept;
  void find_first() noexcept;
  void find_first_alive() noexcept;
  void find_first_of_all() noexcept;
  void find_first_of_pile() noexcept;
  void settle_pile(clock::time_point now) noexcept;
  void take_due(clock::time_point now) noexcept;
  void put_pile_into_heap() noexcept;
  void compact() noexcept;
  std::size_t drop_dead(std::size_t begin, std::size_t end) noexcept;
  void pop_run() noexcept;
  void pop_heap() noexcept;
  void make_heap() noexcept;
  void sift_up(std::size_t position, entry e) noexcept;
  void sift_down(std::size_t position, entry e) noexcept;

  // The heap; then, within expire(), a gap and the run: due timers with the earliest last; then the
  // pile.
  std::vector<entry> entries_;
  std::size_t heap_size_ = 0;
  std::size_t run_size_ = 0;
  std::size_t pile_begin_ = 0;
  std::vector<slot> slots_;
  slot free_ = no_slot;
  std::size_t live_ = 0;
  std::uint64_t expired_ = 0;
  entry first_{};                     // the first one that has a timer, if any has
  entry first_of_pile_{};             // not after any of the pile; may be without a timer
  std::size_t armed_since_look_ = 0;  // since the pile was looked through
  std::uint32_t next_order_ = 0;

  static constexpr slot no_slot = ~slot{0};
};

}  // namespace kedge
