// Reads the clocks of EVFILT_TIMER, and replaces them for use_clock().
#include "kedge/runtime/kqueue/filters/timer_clock.h"

#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {

std::uint64_t timer_now(clockid_t clock) noexcept {
  const clock_function replacement = replaced_clock.load(std::memory_order_acquire);
  if (replacement != nullptr) return replacement();
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(t.tv_nsec);
}

bool use_clock(clock_function clock) noexcept {
  replaced_clock.store(clock, std::memory_order_release);
  kqueue_registry::each_queue([](queue& q) { q.on_clock_change(); });
  return true;
}

}  // namespace kedge::kqueue
