// sleep_for, sleep_until: wait for time to pass.
//
// Time is kedge::clock, awake time. Sleeps with the same deadline end in the order in which they
// began. Cancellation loses nothing.
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
    w.where().in_reactor().timers().arm(*this, deadline_);
    return true;
  }
  cancel_result await_cancel() noexcept {
    disarm();
    return cancel_result::withdrawn;
  }
  void await_resume() const noexcept {}
  void describe(description& line) const noexcept {
    const auto left = std::chrono::duration<double>(clock::until(deadline_));
    line.print("%.3f s to pass", left.count());
  }

 private:
  void expire() noexcept override { waiter_->where().in_reactor().ready(*waiter_); }

  clock::time_point deadline_;
  waiter* waiter_ = nullptr;
};

// The deadline is d after the moment at which it is awaited. At once, but after the tasks that are
// ready, if d is not positive.
class [[nodiscard]] sleep_for {
 public:
  explicit sleep_for(clock::duration d) noexcept : duration_(d) {}
  sleep_operation operator co_await() && noexcept {
    return sleep_operation(clock::after(duration_));
  }

 private:
  clock::duration duration_;
};

class [[nodiscard]] sleep_until {
 public:
  explicit sleep_until(clock::time_point deadline) noexcept : deadline_(deadline) {}
  sleep_operation operator co_await() && noexcept { return sleep_operation(deadline_); }

 private:
  clock::time_point deadline_;
};

}  // namespace kedge
