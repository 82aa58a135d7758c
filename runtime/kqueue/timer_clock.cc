#include "kedge/kqueue/timer_clock.h"

#include <atomic>

#include "kedge/kqueue/time_limit.h"

namespace kedge::kqueue {
namespace {
constinit std::atomic<clock_function> own_clock{nullptr};
}

std::uint64_t timer_now() noexcept {
  const clock_function clock = own_clock.load(std::memory_order_acquire);
  return clock != nullptr ? clock() : monotonic_now();
}

bool clock_is_virtual() noexcept { return own_clock.load(std::memory_order_relaxed) != nullptr; }

bool use_clock(clock_function clock) noexcept {
  own_clock.store(clock, std::memory_order_release);
  return true;
}

}  // namespace kedge::kqueue
