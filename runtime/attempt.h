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
#include "kedge/runtime/awaiting/single_branch.h"

namespace kedge {

template <awaitable A>
class attempt_operation final : public single_branch<A> {
  using value = awaited_t<A>;

 public:
  explicit attempt_operation(A&& a) : single_branch<A>(std::move(a)) {}

  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    cause_ = w.owner_context().cause();
    return this->begun(w, this->start(w.owner_context()));
  }
  bool await_cancel(cancel_cause cause) noexcept {
    cause_ = cause;
    this->held.cancel(cause);
    return false;
  }
  attempted<value> await_resume() {
    switch (this->held.ended()) {
      case outcome::value:
        return {std::in_place, [this]() -> decltype(auto) { return this->held.result(); }};
      case outcome::failed:
        return attempted<value>(this->failure());
      default:
        this->awaiter()->owner_context().count_report();
        return attempted<value>(cause_);
    }
  }
  void describe(description& line) const noexcept { line.print("an attempt"); }

 private:
  const char* branch_name() const noexcept override { return "attempt"; }

  cancel_cause cause_{};
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

template <called_awaitable A>
attempt_awaitable<A> attempt(A&& a) {
  return attempt_awaitable<A>(std::move(a));
}

}  // namespace kedge
