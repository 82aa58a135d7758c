// interval: when the next tick is due, and the operation that waits for it.
#include "kedge/runtime/interval.h"

#include <stdexcept>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

struct interval::state {
  // Takes the tick that is due. Requires that `now` is not before `due`.
  interval_tick take(clock::time_point now) noexcept;

  clock::duration period;
  missed_ticks policy;
  clock::time_point due;
  next_operation* waiting = nullptr;
  bool is_closed = false;
};

interval_tick interval::state::take(clock::time_point now) noexcept {
  interval_tick tick{due, 0};
  if (policy != missed_ticks::catch_up) {
    tick.missed = static_cast<std::uint64_t>(clock::between(due, now) / period);
  }
  const auto dropped = static_cast<clock::rep>(tick.missed);
  const clock::time_point start =
      policy == missed_ticks::delay ? now : due + period * dropped;  // not after `now`
  due = clock::sum(start, period);
  return tick;
}

interval::interval(reactor& r, clock::duration period, missed_ticks policy) {
  if (period <= clock::duration::zero()) {
    throw std::invalid_argument("kedge: the period of an interval is not positive");
  }
  state_ = std::make_shared<state>();
  state_->period = period;
  state_->policy = policy;
  state_->due = clock::sum(r.now(), period);
}

interval::~interval() {
  state_->is_closed = true;
  if (next_operation* const op = state_->waiting) {
    op->disarm();
    wake(*op->waiter_);
  }
}

bool interval::next_operation::await_ready() noexcept {
  if (state_->is_closed) {
    error_ = errc::closed;
  } else if (state_->waiting != nullptr) {
    error_ = errc::already_awaited;
  }
  return static_cast<bool>(error_);
}

bool interval::next_operation::await_suspend(waiter& w) {
  reactor& r = w.owner_context().in_reactor();
  const clock::time_point now = r.now();
  if (state_->due <= now) {
    tick_ = state_->take(now);
    return false;
  }
  r.timers().arm(*this, state_->due);
  state_->waiting = this;
  waiter_ = &w;
  return true;
}

bool interval::next_operation::await_settle() noexcept {
  leave();
  if (state_->is_closed) {
    error_ = errc::closed;
  } else {
    tick_ = state_->take(waiter_->owner_context().in_reactor().now());
  }
  return true;
}

bool interval::next_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

result<interval_tick> interval::next_operation::await_resume() {
  if (error_) return unexpected(error_, {"interval"});
  return tick_;
}

void interval::next_operation::describe(description& line) const noexcept {
  line.print("a tick of an interval");
  if (waiter_ == nullptr) return;
  const clock::time_point now = waiter_->owner_context().in_reactor().now();
  const clock::duration left = clock::between(now, state_->due);
  line.print(", in %.3f s", std::chrono::duration<double>(left).count());
}

void interval::next_operation::expire() noexcept {
  wake(*waiter_);
}

void interval::next_operation::leave() noexcept {
  disarm();
  if (state_ != nullptr && state_->waiting == this) state_->waiting = nullptr;
}

}  // namespace kedge
