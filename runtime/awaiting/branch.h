// branch<Op>: an operation that runs beside others, in a context of its own.
//
// Combinators, scopes and the loop hold their operations as branches. A branch reports its end
// once, to the `branch_owner` that holds it. Destroying a branch destroys its operation in any
// state.
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>
#include <utility>

#include "kedge/runtime/awaiting/awaiting.h"

namespace kedge {

class branch_base;

// The holder of branches.
class branch_owner {
 public:
  // `b` has ended. Called from a source or at the end of b's own coroutine: the implementation must
  // not destroy `b` and must not resume a coroutine.
  virtual void branch_done(branch_base& b) noexcept = 0;

 protected:
  branch_owner() = default;
  ~branch_owner() = default;
};

class branch_base : public waiter, public context {
 public:
  // How a branch ended. A branch that ends with `cancelled` without a cancellation has failed.
  enum class outcome : unsigned char { none, value, failed, cancelled };

  outcome ended() const noexcept { return outcome_; }
  branch_owner& holder() const noexcept { return *holder_; }

 protected:
  explicit branch_base(branch_owner& holder) noexcept
      : waiter(static_cast<context*>(this), nullptr), holder_(&holder) {}
  ~branch_base() = default;

  virtual outcome compute_outcome() const noexcept = 0;

  std::coroutine_handle<> on_complete() noexcept {
    go_on();
    outcome_ = compute_outcome();
    holder_->branch_done(*this);
    return std::noop_coroutine();
  }

 private:
  branch_owner* holder_;
  outcome outcome_ = outcome::none;
};

template <operation Op>
class branch final : public operation_waiter<Op, branch_base> {
  using base = operation_waiter<Op, branch_base>;
  using outcome = branch_base::outcome;

 public:
  template <class A>
  branch(A&& a, branch_owner& holder) : base(std::forward<A>(a), holder) {}

  // Starts the branch: a leaf at once, a coroutine at its first turn. Requires that the branch has
  // been bound. May report the end before it returns. A cancelled branch does so and starts
  // nothing.
  void start() noexcept {
    if (this->cancelled()) {
      this->mark_withdrawn();
      this->on_complete();
    } else if constexpr (requires(Op& op) {
                           { op.await_suspend(*this) } -> std::same_as<bool>;
                         }) {
      if (!this->begin()) this->on_complete();
    } else {
      this->defer();
    }
  }

  // Returns the value or throws the failure. Requires that the branch has ended with one of them.
  // At most once.
  decltype(auto) result() { return this->take(); }

 private:
  outcome compute_outcome() const noexcept override {
    if (this->withdrawn()) return outcome::cancelled;
    if (this->start_failed()) return outcome::failed;
    if constexpr (requires { this->op().was_cancelled(); }) {
      if (this->op().was_cancelled()) {
        return this->cancelled() ? outcome::cancelled : outcome::failed;
      }
    }
    if constexpr (requires { this->op().await_failed(); }) {
      if (this->op().await_failed()) return outcome::failed;
    }
    return outcome::value;
  }
};

}  // namespace kedge
