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

#include "kedge/runtime/awaiting/single_branch.h"

namespace kedge {

template <awaitable A>
class shield_operation final : public single_branch<A, branch<operation_of<A>, outer_branch>> {
  using base = single_branch<A, branch<operation_of<A>, outer_branch>>;

 public:
  explicit shield_operation(A&& a) : base(std::move(a)) {}

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    this->held.enter_shielded_context(w.owner_context());
    return this->begun(w, this->held.start_entered_directly());
  }
  bool await_cancel(cancel_cause) noexcept { return false; }
  std::exception_ptr await_failure() noexcept { return this->failure(); }
  awaited_t<A> await_resume() { return this->held.result(); }
  void describe(description& line) const noexcept { line.print("a shielded branch"); }

 private:
  const char* branch_name() const noexcept override { return "shield"; }
};

template <awaitable A>
class [[nodiscard]] shield_awaitable {
 public:
  explicit shield_awaitable(A&& a) : awaitable_(std::move(a)) {}
  shield_operation<A> operator co_await() && { return shield_operation<A>(std::move(awaitable_)); }

 private:
  A awaitable_;
};

template <called_awaitable A>
shield_awaitable<A> shield(A&& a) {
  return shield_awaitable<A>(std::move(a));
}

}  // namespace kedge
