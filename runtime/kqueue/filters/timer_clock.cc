// Reads the clocks of EVFILT_TIMER, and replaces them for use_clock().
#include "kedge/runtime/kqueue/filters/timer_clock.h"

#include "kedge/runtime/kqueue/nanoseconds.h"

namespace kedge::kqueue {

std::uint64_t timer_clock::now(clockid_t clock) const noexcept {
  kedge_kqueue_clock* const replacement = clock_.load(std::memory_order_acquire);
  if (replacement != nullptr) return replacement(argument_.load(std::memory_order_relaxed));
  return now_of(clock);
}

}  // namespace kedge::kqueue
