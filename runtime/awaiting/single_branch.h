// single_branch<A>: an operation that holds one branch and ends with it; the base of attempt,
// shield and with_timeout. context_branch<A>: the base of with_value and named.
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "kedge/runtime/awaiting/branch.h"

namespace kedge {

template <awaitable A, class Branch = branch<operation_of<A>>>
class single_branch : protected branch_owner {
 public:
  static constexpr operation_kind kind = operation_kind::composite;

  single_branch(const single_branch&) = delete;
  single_branch& operator=(const single_branch&) = delete;

  // What is ready at once ends here, without a suspension.
  bool await_ready(waiter& w) noexcept {
    if constexpr (needs_context<operation_of<A>>)
      return false;
    else
      return held.end_if_ready(w.owner_context());
  }

 protected:
  explicit single_branch(A&& a) : held(std::move(a), *this) {}
  ~single_branch() = default;

  // Starts a branch that was not ready. Returns null if it has ended.
  std::coroutine_handle<> start(context& above) noexcept {
    if constexpr (needs_context<operation_of<A>>) {
      return held.start_directly(above);
    } else {
      return held.start_unready();
    }
  }
  // To be called last by await_suspend(), with its waiter and what it returns.
  std::coroutine_handle<> begun(waiter& w, std::coroutine_handle<> next) noexcept {
    waiter_ = &w;
    return next;
  }

  // Null before begun().
  waiter* awaiter() const noexcept { return waiter_; }

  // Returns the exception of the branch, or null if it has not failed.
  std::exception_ptr failure() noexcept {
    return held.ended() == outcome::failed ? held.failure() : nullptr;
  }

  // A branch that ends within await_suspend() ends no wait: await_suspend() returns null.
  waiter* branch_done(branch_base&) noexcept override { return waiter_; }

  Branch held;

 private:
  waiter* waiter_ = nullptr;
};

// The base of operations that run A in a context of its own, and are cancelled with it.
template <awaitable A>
class context_branch : public single_branch<A, branch<operation_of<A>, outer_branch>> {
 public:
  bool await_ready() const noexcept { return false; }
  bool await_cancel(cancel_cause cause) noexcept {
    this->held.cancel(cause);
    return false;
  }
  bool was_cancelled() const noexcept { return this->held.ended() == outcome::cancelled; }
  std::exception_ptr await_failure() noexcept { return this->failure(); }
  awaited_t<A> await_resume() { return this->held.result(); }

 protected:
  using single_branch<A, branch<operation_of<A>, outer_branch>>::single_branch;
  ~context_branch() = default;
};

}  // namespace kedge
