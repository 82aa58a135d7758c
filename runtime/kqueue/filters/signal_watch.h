// Signals that kqueues watch, and how often each has come. A handler of ours counts what is
// delivered. What every thread blocks is counted as soon as it is pending: a signalfd, which is
// never read, tells of it. (To read it would take the signal from the program.)
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/libc/signal_disposition.h"

namespace kedge::kqueue {

// One kqueue's share. Never freed, but used again: the handler may look at it any time.
class signal_watch {
 public:
  // One that is not in use, or null with errno.
  static signal_watch* take() noexcept;
  // Watches nothing any more. Its descriptors are closed, unless the handler is busy with them.
  void give_back() noexcept;

  // Begins and ends the watch of a signal in 1 to 64 for this kqueue; not counted.
  void begin(unsigned signal) noexcept;
  void end(unsigned signal) noexcept;

  // Becomes readable when a watched signal has come; drain() makes it not so, and counts those that
  // are pending.
  int descriptor() const noexcept { return set_; }
  void drain() noexcept;
  // How often it came since the last call.
  std::uint32_t take_count(unsigned signal) noexcept;

  // Nothing is watched there.
  static void after_fork_in_child() noexcept;

 private:
  friend void signal_arrived(unsigned signal) noexcept;
  friend void signal_taken(unsigned signal) noexcept;

  bool open() noexcept;
  void close() noexcept;
  void watch_pending(std::uint64_t signals) noexcept;
  // The signal that was counted while it was pending is pending no more. True if there was one.
  bool forget_pending(unsigned signal) noexcept;

  int event_fd_ = -1;                      // the handler writes it; -1: none is open
  int pending_fd_ = -1;                    // the signalfd
  int set_ = -1;                           // an epoll set of both
  std::atomic<std::uint64_t> signals_{0};  // bit signal - 1, and so in the next
  std::atomic<std::uint64_t> pending_{0};  // not to be counted when they are delivered
  std::atomic<std::uint32_t> counts_[signal_count]{};
  std::atomic<std::uint32_t> writers_{0};  // handlers that may be about to write
  signal_watch* next_ = nullptr;           // of all there are
  bool in_use_ = false;
};

// A signal has come: counts it for every kqueue that watches it. May be called in a handler.
void signal_arrived(unsigned signal) noexcept;

// A signal that was pending has been taken by sigwait() or its like, and will not come.
void signal_taken(unsigned signal) noexcept;

}  // namespace kedge::kqueue
