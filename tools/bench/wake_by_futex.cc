#include <atomic>

#include "benchmark.h"
#include "pinned_thread.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// The least work that a wakeup can do.
class futex_waiter {
 public:
  void wake() {
    woken_.store(1);
#if defined(__linux__)
    ::syscall(SYS_futex, &woken_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
#else
    woken_.notify_one();
#endif
  }
  void wait() {
    while (woken_.exchange(0) == 0) {
#if defined(__linux__)
      ::syscall(SYS_futex, &woken_, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
#else
      woken_.wait(0);
#endif
    }
  }

 private:
  std::atomic<int> woken_{0};
};

}  // namespace

void wake_by_futex(std::uint64_t n) {
  take_turns<futex_waiter>(n);
}
