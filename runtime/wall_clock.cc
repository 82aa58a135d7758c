// wall_clock: looks at the wall clock again and again, at moments that all sleeps share.
#include "kedge/runtime/wall_clock.h"

#include <algorithm>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {
namespace {

constexpr clock::duration between_looks{1 << 30};

}  // namespace

reactor& wall_sleep_operation::in_reactor() const noexcept {
  return waiter_->owner_context().in_reactor();
}

// Until the deadline, or zero if it has passed.
clock::duration wall_sleep_operation::left() const noexcept {
  const clock::duration now = saturate(in_reactor().wall_now().time_since_epoch());
  return clock::between(clock::time_point(now), clock::time_point(deadline_));
}

bool wall_sleep_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  arm_next(left());
  return true;
}

void wall_sleep_operation::arm_next(clock::duration left) {
  reactor& r = in_reactor();
  const clock::time_point now = r.now();
  const clock::time_point look =
      clock::round_up(clock::sum(now, clock::duration(1)), between_looks);
  r.timers().arm(*this, std::min(clock::sum(now, left), look));
}

void wall_sleep_operation::expire() noexcept {
  try {
    const clock::duration more = left();
    if (more > clock::duration::zero()) return arm_next(more);
  } catch (...) {
    failure_ = std::current_exception();
  }
  wake(*waiter_);
}

void wall_sleep_operation::describe(description& line) const noexcept {
  if (waiter_ == nullptr) {
    line.print("its turn to sleep");
    return;
  }
  line.print("the wall clock, in %.3f s", std::chrono::duration<double>(left()).count());
}

}  // namespace kedge
