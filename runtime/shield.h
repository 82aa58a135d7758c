// shield(x): awaits x, and lets no cancellation from outside reach it.
//
//     co_await kedge::shield(flush(log));
//
// Gives the value of x or throws its exception. A cancellation during the wait ends the caller
// at its next wait. In a context that is cancelled already x begins, and runs uncancelled. x itself
// may use time-outs, and cancel what is its own. Cancellation loses nothing: x goes on.
#pragma once

#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/branch.h"

namespace kedge {

template <awaitable A>
class shield_operation final : private branch_owner {
 public:
  static constexpr operation_kind kind = operation_kind::composite;

  explicit shield_operation(A&& a) : branch_(std::move(a), *this) {}
  shield_operation(const shield_operation&) = delete;
  shield_operation& operator=(const shield_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    waiter_ = &w;
    branch_.enter_shielded_context(w.owner_context());
    const std::coroutine_handle<> next = branch_.start_entered_directly();
    started_ = true;
    return next;
  }
  bool await_cancel(cancel_cause) noexcept { return false; }
  std::exception_ptr await_failure() noexcept {
    return branch_.ended() == outcome::failed ? branch_.failure() : nullptr;
  }
  awaited_t<A> await_resume() { return branch_.result(); }
  void describe(description& line) const noexcept { line.print("a shielded branch"); }

 private:
  void branch_done(branch_base&) noexcept override {
    if (started_) wake(*waiter_);
  }
  const char* branch_name() const noexcept override { return "shield"; }

  waiter* waiter_ = nullptr;
  bool started_ = false;
  branch<operation_of<A>, outer_branch> branch_;
};

template <awaitable A>
class [[nodiscard]] shield_awaitable {
 public:
  explicit shield_awaitable(A&& a) : awaitable_(std::move(a)) {}
  shield_operation<A> operator co_await() && { return shield_operation<A>(std::move(awaitable_)); }

 private:
  A awaitable_;
};

template <awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
shield_awaitable<A> shield(A&& a) {
  return shield_awaitable<A>(std::move(a));
}

}  // namespace kedge
