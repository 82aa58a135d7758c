#include "kedge/kqueue/lock.h"

namespace kedge::kqueue {

void word_lock::lock_contended() noexcept {
  // Holders keep it for tens of instructions, seldom across a system call: look again before sleeping.
  for (int i = 0; i < 64; ++i) {
    int expected = free;
    if (word_.compare_exchange_weak(expected, held, std::memory_order_acquire)) return;
  }
  while (word_.exchange(contended, std::memory_order_acquire) != free) {
    word_.wait(contended, std::memory_order_relaxed);
  }
}

}  // namespace kedge::kqueue
