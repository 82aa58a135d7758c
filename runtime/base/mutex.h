// mutex, condition: the lock of both kernels, and the condition variable that goes with it.
//
//   const std::lock_guard hold(lock);
//   while (!is_ready) ready.wait(lock);
//
// A mutex is a Lockable. It is not recursive, and it leaves errno alone. A held mutex may be
// destroyed: after a fork the child abandons the locks of its parent's other threads.
//
// A mutex is one word. A free mutex costs a handful of inlined instructions, none of them atomic
// while the process has one thread. (A std::mutex costs two calls of some twenty instructions each;
// a message takes some ten locks, a kevent() call two.)
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
  // A process of one thread does not mark the word: no other thread can want the lock, and no
  // thread is made under a lock.
  bool try_lock() noexcept { return one_thread() || try_lock_atomically(); }

  // unlock() in two steps, for callers that must not call a function between them. Returns false if
  // wake_one() has to follow. Stores the word even with one thread: the mutex may have been taken
  // while there were several.
  bool release() noexcept {
    if (one_thread()) [[likely]] {
      word_.store(free, std::memory_order_relaxed);
      return true;
    }
    return release_atomically();
  }
  void wake_one() noexcept;

  // try_lock() and release() for callers that know from one_thread() that there are other threads.
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

  // Requires the lock that the sleepers pass to wait().
  void wake_all() noexcept {
    if (sleepers_ != 0) wake_sleepers();
  }

 private:
  void wake_sleepers() noexcept;

  std::atomic<int> generation_{0};
  int sleepers_ = 0;
};

}  // namespace kedge::base
