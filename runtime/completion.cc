// completion: the stages of a wait, which the waiting loop and a completing thread move on.
#include "kedge/runtime/completion.h"

namespace kedge {

// The waiter is attached before the stage becomes `awaited`, and another is attached only in the
// stage `idle`: the exchange below has ended that.
void completion_state::publish(std::shared_ptr<completion_state> self) noexcept {
  if (stage_.exchange(stage::done, std::memory_order_acq_rel) == stage::awaited) {
    post_wake(std::move(self));
  }
}

void completion_state::close() noexcept {
  claim();
  is_over_ = true;
  if (!is_attached() || !move_on(stage::awaited, stage::idle)) return;
  std::exchange(standing_, nullptr)->error_ = errc::closed;
  wake(*detach());
}

bool completion_wait::await_ready() noexcept {
  if (state_->is_over_) {
    error_ = errc::closed;
  } else if (state_->standing_ != nullptr) {
    error_ = errc::already_awaited;
  } else {
    state_->standing_ = this;
    return state_->stage_.load(std::memory_order_acquire) == completion_state::stage::done;
  }
  return true;
}

bool completion_wait::await_suspend(waiter& w) noexcept {
  state_->attach(w);
  if (state_->move_on(completion_state::stage::idle, completion_state::stage::awaited)) return true;
  state_->detach();
  return false;
}

bool completion_wait::await_cancel(cancel_cause) noexcept {
  // Else the result has been stored, and the post that ends the wait is on its way.
  if (!state_->move_on(completion_state::stage::awaited, completion_state::stage::idle)) {
    return false;
  }
  state_->detach();
  leave();
  return true;
}

completion_state* completion_wait::take() noexcept {
  if (error_) return nullptr;
  state_->is_over_ = true;
  state_->standing_ = nullptr;
  return state_.get();
}

void completion_wait::leave() noexcept {
  if (state_->standing_ != this) return;
  state_->standing_ = nullptr;
  if (state_->detach() == nullptr) return;
  state_->move_on(completion_state::stage::awaited, completion_state::stage::idle);
}

}  // namespace kedge
