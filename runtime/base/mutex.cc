// The slow paths of mutex and condition, over std::atomic's wait (a futex on Linux).
#include "kedge/runtime/base/mutex.h"

#include <cerrno>

namespace kedge::base {

void mutex::lock_contended() noexcept {
  // A holder keeps the lock for tens of instructions, seldom across a system call: spin before
  // sleeping.
  for (int spins = 0; spins < 100; ++spins) {
    if (word_.load(std::memory_order_relaxed) == free && try_lock_atomically()) return;
  }
  const int error = errno;
  while (word_.exchange(contended, std::memory_order_acquire) != free) {
    word_.wait(contended, std::memory_order_relaxed);
  }
  errno = error;
}

void mutex::wake_one() noexcept {
  word_.notify_one();
}

void condition::wait(mutex& lock) noexcept {
  const int generation = generation_.load(std::memory_order_relaxed);
  ++sleepers_;
  lock.unlock();
  generation_.wait(generation, std::memory_order_acquire);
  lock.lock();
  --sleepers_;
}

void condition::wake_sleepers() noexcept {
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

}  // namespace kedge::base
