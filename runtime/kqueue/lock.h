#pragma once

// The lock of the kqueue and of its filters: one word, a handful of inlined instructions when free,
// and no atomic ones while the process has one thread. (A std::mutex costs two calls of some twenty
// instructions each, twice per kevent() call.) A BasicLockable; not recursive; leaves errno alone.
// `turnstile` is what threads sleep on until a state under such a lock may have changed.

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

#include <atomic>

namespace kedge::kqueue {

// False as soon as a second thread is about to be made. (The C library keeps it; where it does not,
// there are always threads.)
inline bool one_thread() noexcept {
#if __has_include(<sys/single_threaded.h>)
  return __libc_single_threaded != 0;
#else
  return false;
#endif
}

class word_lock {
 public:
  void lock() noexcept {
    if (!try_lock()) [[unlikely]]
      lock_contended();
  }
  void unlock() noexcept {
    if (!release()) [[unlikely]]
      wake_one();
  }

  bool try_lock() noexcept {
    // Alone nobody else can want it, and no thread is made under it.
    return one_thread() || try_lock_atomically();
  }
  // unlock() in two steps, for who has better to call nothing: false if wake_one() has to follow.
  bool release() noexcept {
    if (one_thread()) [[likely]] {
      word_.store(free, std::memory_order_relaxed);
      return true;
    }
    return release_atomically();
  }
  // The same, among threads. Who asks one_thread() once for both needs neither when it is alone.
  bool try_lock_atomically() noexcept {
    int expected = free;
    return word_.compare_exchange_strong(expected, held, std::memory_order_acquire);
  }
  bool release_atomically() noexcept {
    return word_.exchange(free, std::memory_order_release) != contended;
  }
  void wake_one() noexcept;

 private:
  static constexpr int free = 0;
  static constexpr int held = 1;
  static constexpr int contended = 2;  // somebody may sleep

  void lock_contended() noexcept;

  std::atomic<int> word_{free};
};

class turnstile {
 public:
  // Called with `lock` held; releases it while asleep, returns with it held, perhaps for no reason.
  void wait(word_lock& lock) noexcept;

  // Called with the same lock held.
  void wake_all() noexcept {
    if (sleepers_ != 0) wake_sleepers();
  }

 private:
  void wake_sleepers() noexcept;

  std::atomic<int> turn_{0};
  int sleepers_ = 0;
};

}  // namespace kedge::kqueue
