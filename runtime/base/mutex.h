// mutex, condition: the lock of both kernels, and what a thread sleeps on until a state under such
// a lock may have changed.
//
// One word each. A free mutex costs a handful of inlined instructions, and no atomic one while the
// process has one thread. (A std::mutex costs two calls of some twenty instructions each; a message
// takes some ten locks, a kevent() call two.) A mutex is a Lockable, not recursive, and leaves
// errno alone. A held one may be destroyed: after a fork the child abandons its parent's.
#pragma once

#include <atomic>

#include "kedge/runtime/base/one_thread.h"

namespace kedge::base {

class mutex {
 public:
  mutex() = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  void lock() noexcept {
    if (!try_lock()) [[unlikely]]
      lock_contended();
  }
  void unlock() noexcept {
    if (!release()) [[unlikely]]
      wake_one();
  }
  // A process of one thread does not mark the word: nobody else can want it, and no thread is made
  // under a lock.
  bool try_lock() noexcept { return one_thread() || try_lock_atomically(); }

  // unlock() in two steps, for callers that must not call a function in between. Returns false if
  // wake_one() has to follow. The word is stored even by a single thread: the mutex may have been
  // taken while there were several.
  bool release() noexcept {
    if (one_thread()) [[likely]] {
      word_.store(free, std::memory_order_relaxed);
      return true;
    }
    return release_atomically();
  }
  void wake_one() noexcept;

  // The same for callers that have already asked one_thread(), and have other threads.
  bool try_lock_atomically() noexcept {
    int expected = free;
    return word_.compare_exchange_strong(expected, held, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }
  bool release_atomically() noexcept {
    return word_.exchange(free, std::memory_order_release) != contended;
  }

 private:
  static constexpr int free = 0;
  static constexpr int held = 1;
  static constexpr int contended = 2;  // a thread may sleep

  void lock_contended() noexcept;

  std::atomic<int> word_{free};
};

class condition {
 public:
  // Requires `lock`. Releases it while asleep and returns with it held, perhaps spuriously.
  void wait(mutex& lock) noexcept;

  // Requires the same lock.
  void wake_all() noexcept {
    if (sleepers_ != 0) wake_sleepers();
  }

 private:
  void wake_sleepers() noexcept;

  std::atomic<int> generation_{0};
  int sleepers_ = 0;
};

}  // namespace kedge::base
