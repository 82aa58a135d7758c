// attempt(x): awaits x and reports how it ended, a cancellation included.
//
//     const auto end = co_await kedge::attempt(transfer(file));
//     if (end.cancelled()) log("stopped: ", end.cause());
//
// Gives attempted<T>. It is the only way to observe a cancellation from within: a cancelled wait
// never returns. A cancellation from outside ends x, and attempt() reports it; the next wait of the
// caller then ends the caller. In a context that is cancelled already attempt() begins, and the
// first wait of x ends x. A chain that goes on nevertheless is ended, with the program, by its
// 1,000th report. The destruction of the loop is not reported: only destructors run then.
// Cancellation loses what x declares.
#pragma once

#include <type_traits>
#include <utility>

#include "kedge/runtime/attempted.h"
#include "kedge/runtime/awaiting/branch.h"

namespace kedge {

template <awaitable A>
class attempt_operation final : private branch_owner {
 public:
  static constexpr operation_kind kind = operation_kind::composite;

  explicit attempt_operation(A&& a) : branch_(std::move(a), *this) {}
  attempt_operation(const attempt_operation&) = delete;
  attempt_operation& operator=(const attempt_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    waiter_ = &w;
    cause_ = w.owner_context().cause();
    const std::coroutine_handle<> next = branch_.start_directly(w.owner_context());
    started_ = true;
    return next;
  }
  bool await_cancel(cancel_cause cause) noexcept {
    cause_ = cause;
    branch_.cancel(cause);
    return false;
  }
  attempted<awaited_t<A>> await_resume() {
    if (branch_.ended() == outcome::failed) return attempted<awaited_t<A>>(branch_.failure());
    if (branch_.ended() == outcome::value) {
      return {std::in_place, [this]() -> decltype(auto) { return branch_.result(); }};
    }
    waiter_->owner_context().count_report();
    return attempted<awaited_t<A>>(cause_);
  }
  void describe(description& line) const noexcept { line.print("an attempt"); }

 private:
  void branch_done(branch_base&) noexcept override {
    if (started_) wake(*waiter_);
  }
  const char* branch_name() const noexcept override { return "attempt"; }

  waiter* waiter_ = nullptr;
  cancel_cause cause_{};
  bool started_ = false;
  branch<operation_of<A>> branch_;
};

template <awaitable A>
class [[nodiscard]] attempt_awaitable {
 public:
  explicit attempt_awaitable(A&& a) : awaitable_(std::move(a)) {}
  attempt_operation<A> operator co_await() && {
    return attempt_operation<A>(std::move(awaitable_));
  }

 private:
  A awaitable_;
};

template <awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
attempt_awaitable<A> attempt(A&& a) {
  return attempt_awaitable<A>(std::move(a));
}

}  // namespace kedge
