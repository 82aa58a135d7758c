// signal_watch: the signals that a kqueue watches, and how often each has come.
//
// The library's signal handler (libc/signal_disposition.h) counts delivered signals. A signal that
// every thread blocks is counted as soon as it is pending, which a signalfd reports. The signalfd
// is never read: libc/pending_signals.h counts the signal and keeps it pending for the program. A
// real-time signal is only counted once while it is pending.
//
// Threads: begin(), end(), drain() and take_count() under the caller's lock, the rest any. The two
// functions at the end may run in a signal handler. Ownership: a signal_watch is never freed,
// because the handler may look at it at any time. It is reused.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/filters/timer_clock.h"
#include "kedge/runtime/kqueue/libc/signal_disposition.h"

namespace kedge::kqueue {

class signal_watch {
 public:
  // Returns one that is not in use, or null with errno. `clock` has to live for ever.
  static signal_watch* take(const timer_clock& clock) noexcept;
  // Requires that no signal is watched. Closes the descriptors, unless the handler is using them.
  void give_back() noexcept;

  // Begin and end watching a signal from 1 to 64. Calls do not nest.
  void begin(unsigned signal) noexcept;
  void end(unsigned signal) noexcept;

  // Whether the signal makes the descriptor readable, or is only counted.
  void set_waking(unsigned signal, bool is_waking) noexcept;

  // The descriptor that becomes readable when a watched signal has come. drain() makes it
  // unreadable again, and counts the pending signals.
  int fd() const noexcept { return set_; }
  void drain() noexcept;
  // Returns how often the signal came since the last call.
  std::uint32_t take_count(unsigned signal) noexcept;
  // When the first signal came that take_count() would count: by the clock of the timers, and its
  // place among all signals.
  struct arrival {
    std::uint64_t time;  // ns
    std::uint32_t place;
  };
  arrival arrival_of(unsigned signal) const noexcept {
    return {times_[signal].load(std::memory_order_relaxed),
            places_[signal].load(std::memory_order_relaxed)};
  }
  // Returns whether a signal has come since the last drain(), but for pending ones.
  bool has_arrived() const noexcept { return has_arrived_.load(std::memory_order_acquire); }

  // In the child no signal is watched.
  static void after_fork_in_child() noexcept;

 private:
  friend void signal_delivered(unsigned signal) noexcept;
  friend void signal_accepted(unsigned signal) noexcept;

  bool open() noexcept;
  void poke() const noexcept;
  void close() noexcept;
  void count_one(unsigned signal) noexcept;
  void watch_pending(std::uint64_t signals) noexcept;
  void count_realtime() noexcept;
  // The real-time signal is not pending any more. Returns whether it was counted while it was
  // pending.
  bool forget_pending(unsigned signal) noexcept;

  int event_fd_ = -1;                      // written by the handler. -1: not open
  int pending_fd_ = -1;                    // the signalfd
  int set_ = -1;                           // an epoll set of both
  int status_fd_ = -1;                     // /proc/self/status
  std::atomic<std::uint64_t> signals_{0};  // watched. Bit signal - 1
  std::atomic<std::uint64_t> waking_{0};   // make fd() readable. Bit signal - 1
  // Real-time signals that are counted already, so that they are not when they are delivered.
  std::atomic<std::uint64_t> pending_{0};
  std::atomic<std::uint32_t> counts_[signal_count]{};
  std::atomic<std::uint32_t> places_[signal_count]{};  // of the first one counted
  std::atomic<std::uint64_t> times_[signal_count]{};   // of the first one counted
  std::atomic<std::uint32_t> last_place_{0};
  std::atomic<const timer_clock*> clock_{nullptr};
  std::atomic<bool> has_arrived_{false};
  std::atomic<std::uint32_t> writers_{0};  // handlers that may be about to write
  signal_watch* next_ = nullptr;           // in the list of all, walked without a lock
  bool in_use_ = false;
};

// A signal was delivered, or will be: counts it for every kqueue that watches it.
void signal_delivered(unsigned signal) noexcept;

// A pending signal was accepted by sigwait(), sigwaitinfo() or sigtimedwait(), so that it will not
// be delivered.
void signal_accepted(unsigned signal) noexcept;

}  // namespace kedge::kqueue
