// stop_flag: tells a function that runs on another thread to end early; for offload().
//
//     co_await kedge::offload([&](const kedge::stop_flag& stop) {
//       while (!stop.stop_requested() && read_block()) count_block();
//     });
//
// Threads: any thread.
#pragma once

#include <atomic>

namespace kedge {

class stop_flag {
 public:
  stop_flag() = default;
  stop_flag(const stop_flag&) = delete;
  stop_flag& operator=(const stop_flag&) = delete;

  // Returns true once the wait for the function has been cancelled. A function that has been told
  // so has ended early: its wait ends as cancelled, and what it returns or throws is dropped.
  bool stop_requested() const noexcept {
    if (!is_requested_.load(std::memory_order_relaxed)) return false;
    is_seen_.store(true, std::memory_order_relaxed);
    return true;
  }

  // --- For the owner of the flag ----------------------------------------------------------------

  void request_stop() noexcept { is_requested_.store(true, std::memory_order_relaxed); }
  // Returns whether stop_requested() has returned true.
  bool is_seen() const noexcept { return is_seen_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> is_requested_{false};
  mutable std::atomic<bool> is_seen_{false};
};

}  // namespace kedge
