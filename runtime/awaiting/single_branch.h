// single_branch<A>: an operation that holds one branch and ends with it; the base of attempt,
// shield and with_timeout.
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

  bool await_ready() const noexcept { return false; }

 protected:
  explicit single_branch(A&& a) : held(std::move(a), *this) {}
  ~single_branch() = default;

  // To be called by await_suspend(): first with its waiter, and last with what it returns.
  void begin(waiter& w) noexcept { waiter_ = &w; }
  std::coroutine_handle<> begun(std::coroutine_handle<> next) noexcept {
    has_begun_ = true;
    return next;
  }

  // Null before begin().
  waiter* awaiter() const noexcept { return waiter_; }

  // Returns the exception of the branch, or null if it has not failed.
  std::exception_ptr failure() noexcept {
    return held.ended() == outcome::failed ? held.failure() : nullptr;
  }

  // A branch that ends within await_suspend() wakes no waiter: await_suspend() returns null.
  void branch_done(branch_base&) noexcept override {
    if (has_begun_) wake(*waiter_);
  }

  Branch held;

 private:
  waiter* waiter_ = nullptr;
  bool has_begun_ = false;
};

}  // namespace kedge
