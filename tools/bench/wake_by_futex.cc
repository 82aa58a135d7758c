#include <atomic>

#include "benchmark.h"
#include "pinned_thread.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// The least that a wake-up takes.
class bell {
 public:
  void ring() {
    rung_.store(1);
#if defined(__linux__)
    ::syscall(SYS_futex, &rung_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
#else
    rung_.notify_one();
#endif
  }
  void wait() {
    while (rung_.exchange(0) == 0) {
#if defined(__linux__)
      ::syscall(SYS_futex, &rung_, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
#else
      rung_.wait(0);
#endif
    }
  }

 private:
  std::atomic<int> rung_{0};
};

}  // namespace

void wake_by_futex(std::uint64_t n) {
  bell there, back;
  std::thread other = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.wait();
      back.ring();
    }
  });
  std::thread one = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.ring();
      back.wait();
    }
  });
  one.join();
  other.join();
}
