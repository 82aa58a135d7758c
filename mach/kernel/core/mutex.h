// A mutex of one word: a compare-and-swap when nobody holds it, a futex wait otherwise. Critical
// sections of this kernel are a few hundred instructions at most, so it spins for a moment first.
// While the process has one thread nobody can hold it, and it need not be taken (a message takes
// some ten locks and references, each of which costs as much as fifty instructions). It is released
// all the same: the other threads may have ended since it was taken.
// Not recursive; destroying a held one is allowed (after a fork the child abandons the parent's).
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/mach/kernel/core/one_thread.h"

namespace kedge::mach::kernel {

class mutex {
 public:
  mutex() = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  void lock() noexcept {
    if (one_thread()) return;
    std::uint32_t expected = free;
    if (!word_.compare_exchange_strong(expected, held, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
      lock_contended();
    }
  }

  bool try_lock() noexcept {
    std::uint32_t expected = free;
    return word_.compare_exchange_strong(expected, held, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }

  void unlock() noexcept {
    if (one_thread()) return word_.store(free, std::memory_order_relaxed);
    if (word_.exchange(free, std::memory_order_release) == contended) word_.notify_one();
  }

 private:
  static constexpr std::uint32_t free = 0, held = 1, contended = 2;

  void lock_contended() noexcept;

  std::atomic<std::uint32_t> word_{free};
};

}  // namespace kedge::mach::kernel
