// Reads the clocks of EVFILT_TIMER, and replaces them for use_clock().
#include "kedge/runtime/kqueue/filters/timer_clock.h"

namespace kedge::kqueue {

std::uint64_t timer_clock::now(clockid_t clock) const noexcept {
  kedge_kqueue_clock* const replacement = clock_.load(std::memory_order_acquire);
  if (replacement != nullptr) return replacement(argument_.load(std::memory_order_relaxed));
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace kedge::kqueue
