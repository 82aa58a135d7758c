// sleep_for, sleep_until: wait for time to pass.
//
//     co_await kedge::sleep_for(std::chrono::milliseconds(100));
//
// Time is that of kedge::clock, which stands still while the machine sleeps. Sleeps with the same
// deadline end in the order in which they began. Awaiting one throws std::bad_alloc. Cancellation
// loses nothing.
#pragma once

#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

class sleep_operation final : private timer {
 public:
  explicit sleep_operation(clock::time_point deadline) noexcept : deadline_(deadline) {}
  sleep_operation(const sleep_operation&) = delete;
  sleep_operation& operator=(const sleep_operation&) = delete;
  ~sleep_operation() = default;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    waiter_ = &w;
    w.owner_context().in_reactor().timers().arm(*this, deadline_);
    return true;
  }
  bool await_cancel(cancel_cause) noexcept {
    disarm();
    return true;
  }
  void await_resume() const noexcept {}
  void describe(description& line) const noexcept {
    const auto left = std::chrono::duration<double>(clock::until(deadline_));
    line.print("%.3f s to pass", left.count());
  }

 private:
  void expire() noexcept override { wake(*waiter_); }

  clock::time_point deadline_;
  waiter* waiter_ = nullptr;
};

// Waits until `d` has passed since the co_await. If `d` is not positive, the sleep ends at once,
// but after the tasks that are ready. A `d` beyond the end of time waits for ever.
class [[nodiscard]] sleep_for {
 public:
  [[nodiscard]] explicit sleep_for(clock::duration d) noexcept : duration_(d) {}
  sleep_operation operator co_await() && noexcept {
    return sleep_operation(clock::after(duration_));
  }

 private:
  clock::duration duration_;
};

// Waits until `deadline`. A deadline that has passed is like a sleep_for of zero.
class [[nodiscard]] sleep_until {
 public:
  [[nodiscard]] explicit sleep_until(clock::time_point deadline) noexcept : deadline_(deadline) {}
  sleep_operation operator co_await() && noexcept { return sleep_operation(deadline_); }

 private:
  clock::time_point deadline_;
};

}  // namespace kedge
