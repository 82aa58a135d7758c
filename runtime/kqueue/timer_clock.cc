#include "kedge/kqueue/timer_clock.h"

#include "kedge/kqueue/time_limit.h"

namespace kedge::kqueue {

std::uint64_t timer_now() noexcept {
  const clock_function clock = clock_of_timers.load(std::memory_order_acquire);
  return clock != nullptr ? clock() : monotonic_now();
}

bool use_clock(clock_function clock) noexcept {
  clock_of_timers.store(clock, std::memory_order_release);
  return true;
}

}  // namespace kedge::kqueue
