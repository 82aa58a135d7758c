// branch<Op>: an operation that runs beside others, in a context of its own.
//
// Combinators, scopes and the loop hold what they run as branches. A branch reports its end, once,
// to the `branching` that holds it.
#pragma once

#include <coroutine>
#include <utility>

#include "kedge/runtime/awaiting/awaiting.h"

namespace kedge {

class branch_base;

// Whoever holds branches.
class branching {
 public:
  // `b` has ended. Called from a source or from the end of b's own coroutine: b may not be
  // destroyed in here, and nothing may be resumed.
  virtual void branch_done(branch_base& b) noexcept = 0;

 protected:
  branching() = default;
  ~branching() = default;
};

class branch_base : public waiter, public context {
 public:
  // How a branch ended. A branch that ends as cancelled although nobody cancelled it has failed.
  enum class outcome : unsigned char { none, value, failed, cancelled };

  outcome ended() const noexcept { return outcome_; }
  branching& holder() const noexcept { return *holder_; }

 protected:
  explicit branch_base(branching& holder) noexcept
      : waiter(static_cast<context*>(this), nullptr), holder_(&holder) {}
  ~branch_base() = default;

  virtual outcome judge() const noexcept = 0;

  std::coroutine_handle<> arrived() noexcept {
    go_on();
    outcome_ = judge();
    holder_->branch_done(*this);
    return std::noop_coroutine();
  }

 private:
  branching* holder_;
  outcome outcome_ = outcome::none;
};

template <operation Op>
class branch final : public operation_waiter<Op, branch_base> {
  using base = operation_waiter<Op, branch_base>;
  using outcome = branch_base::outcome;

 public:
  template <class A>
  branch(A&& a, branching& holder) : base(std::forward<A>(a), holder) {}

  // Starts the branch, which has been bound: a leaf at once, a coroutine at its first turn. It may
  // report its end at once; a cancelled one does, and starts nothing.
  void start() noexcept {
    if (this->cancelled()) {
      this->mark_withdrawn();
      this->arrived();
    } else if constexpr (requires(Op& op) {
                           { op.await_suspend(*this) } -> std::same_as<bool>;
                         }) {
      if (!this->begin()) this->arrived();
    } else {
      this->defer();
    }
  }

  // The result: throws the failure. Only after the end with a value or a failure, once.
  decltype(auto) result() { return this->take(); }

 private:
  outcome judge() const noexcept override {
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
