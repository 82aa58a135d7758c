#pragma once

// Signals that kqueues watch, and how often each has come. (signalfd would need the signal blocked
// in every thread, and suppress the program's handlers.)

#include <atomic>
#include <cstdint>

#include "kedge/kqueue/signal_disposition.h"

namespace kedge::kqueue {

// One kqueue's share. Never freed, but used again, with its eventfd: the handler may look at it any
// time.
class signal_watch {
 public:
  // One that is not in use, or null with errno.
  static signal_watch* take() noexcept;
  // Watches nothing any more.
  void give_back() noexcept;

  // Begins and ends the watch of a signal in 1 to 64 for this kqueue; not counted.
  void begin(unsigned signal) noexcept;
  void end(unsigned signal) noexcept;

  // Becomes readable when a watched signal has come; drain() makes it not so.
  int descriptor() const noexcept { return event_fd_.load(std::memory_order_relaxed); }
  void drain() noexcept;
  // How often it came since the last call.
  std::uint32_t take_count(unsigned signal) noexcept;

  // In the child of a fork: descriptors are closed, nothing is watched.
  static void abandon() noexcept;

 private:
  friend void signal_arrived(unsigned signal) noexcept;

  std::atomic<int> event_fd_{-1};
  std::atomic<std::uint64_t> signals_{0};  // bit signal - 1
  std::atomic<std::uint32_t> counts_[signal_count]{};
  signal_watch* next_ = nullptr;  // of all there are
  bool in_use_ = false;
};

// A signal has come: counts it for every kqueue that watches it. May be called in a handler.
void signal_arrived(unsigned signal) noexcept;

}  // namespace kedge::kqueue
