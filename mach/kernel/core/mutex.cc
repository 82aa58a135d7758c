#include "kedge/mach/kernel/core/mutex.h"

namespace kedge::mach::kernel {

void mutex::lock_contended() noexcept {
  for (int spins = 0; spins < 100; ++spins) {
    if (word_.load(std::memory_order_relaxed) == free && try_lock()) return;
  }
  while (word_.exchange(contended, std::memory_order_acquire) != free) {
    word_.wait(contended, std::memory_order_relaxed);
  }
}

}  // namespace kedge::mach::kernel
