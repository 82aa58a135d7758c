#include "kedge/kqueue/lock.h"

#include <cerrno>

namespace kedge::kqueue {

void word_lock::lock_contended() noexcept {
  // Holders keep it for tens of instructions, seldom across a system call: look again before
  // sleeping.
  for (int i = 0; i < 64; ++i) {
    int expected = free;
    if (word_.compare_exchange_weak(expected, held, std::memory_order_acquire)) return;
  }
  const int error = errno;
  while (word_.exchange(contended, std::memory_order_acquire) != free) {
    word_.wait(contended, std::memory_order_relaxed);
  }
  errno = error;
}

void word_lock::wake_one() noexcept {
  word_.notify_one();
}

void turnstile::wait(word_lock& lock) noexcept {
  const int ticket = turn_.load(std::memory_order_relaxed);
  ++sleepers_;
  lock.unlock();
  turn_.wait(ticket, std::memory_order_acquire);
  lock.lock();
  --sleepers_;
}

void turnstile::wake_sleepers() noexcept {
  turn_.fetch_add(1, std::memory_order_release);
  turn_.notify_all();
}

}  // namespace kedge::kqueue
