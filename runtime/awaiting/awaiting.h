// awaiting<Op>: the awaiter that `co_await x` makes in one of our coroutines.
//
// First it throws `cancelled` if the context is cancelled; nothing has started then. Then it takes
// one from the budget, and yields to the other ready tasks if none is left. Then it awaits the
// operation.
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>
#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/frame.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

// One operation and its stage. The base Party is the kind of waiter: a coroutine or a branch. It
// derives from waiter, and its on_complete() returns the coroutine that runs after the operation's
// end.
template <operation Op, class Party>
class operation_waiter : public Party {
  static constexpr bool runs_coroutine =
      !std::is_same_v<decltype(std::declval<Op&>().await_suspend(std::declval<waiter&>())), bool>;
  static constexpr bool settles = requires(Op& op) { op.await_settle(); };
  static constexpr bool may_throw =
      !noexcept(std::declval<Op&>().await_suspend(std::declval<waiter&>()));

 public:
  template <class A, class... P>
  explicit operation_waiter(A&& a, P&&... party)
      : Party(std::forward<P>(party)...), op_(std::forward<A>(a).operator co_await()) {}

  Op& op() noexcept { return op_; }
  const Op& op() const noexcept { return op_; }

  // Returns whether the operation was withdrawn before it had a result.
  bool withdrawn() const noexcept { return withdrawn_; }

  void withdraw() noexcept override {
    if (this->queued()) return;  // proceed() checks for cancellation at its turn
    if (op_.await_cancel(this->owner_context().cause())) {
      withdrawn_ = true;
      wake(*this);
    }
  }

  std::coroutine_handle<> proceed() noexcept override {
    if (deferred_) [[unlikely]] {
      deferred_ = false;
      if (this->owner_context().cancelled()) {
        withdrawn_ = true;
      } else if (const std::coroutine_handle<> next = begin()) {
        return next;
      }
    } else if constexpr (settles) {
      if (!withdrawn_ && !op_.await_settle()) {
        if (this->owner_context().cancelled()) withdraw();
        return std::noop_coroutine();
      }
    }
    return this->on_complete();
  }

  context* next_branch(const context* previous) const noexcept override {
    if constexpr (requires { op_.next_branch(previous); }) {
      return op_.next_branch(previous);
    } else {
      return nullptr;
    }
  }

  void describe(description& line) const noexcept override { op_.describe(line); }

 protected:
  // Starts the operation at this waiter's next turn instead of now.
  void defer() noexcept {
    deferred_ = true;
    this->owner_context().suspend_on(*this);
    wake(*this);
  }
  void mark_withdrawn() noexcept { withdrawn_ = true; }

  // Starts the operation. Returns null if it has ended, else the coroutine to run while it waits.
  std::coroutine_handle<> begin() noexcept {
    if (op_.await_ready()) return nullptr;
    if constexpr (may_throw) {
      try {
        return suspend();
      } catch (...) {
        failure_.stored = std::current_exception();
        return nullptr;
      }
    } else {
      return suspend();
    }
  }

  // Links the operation into its source. Returns null if it has ended, else the coroutine to run
  // while it waits.
  std::coroutine_handle<> suspend() noexcept(!may_throw) {
    if constexpr (runs_coroutine) {
      this->owner_context().go_on();
      return op_.await_suspend(*this);
    } else {
      this->owner_context().suspend_on(*this);
      if (link()) return std::noop_coroutine();
      this->owner_context().go_on();
      return nullptr;
    }
  }

  bool link() noexcept(!may_throw) {
    if constexpr (may_throw) {
      try {
        return op_.await_suspend(*this);
      } catch (...) {
        this->owner_context().go_on();
        throw;
      }
    } else {
      return op_.await_suspend(*this);
    }
  }

  bool start_failed() const noexcept {
    if constexpr (may_throw) return failure_.stored != nullptr;
    return false;
  }

  decltype(auto) take() {
    if constexpr (may_throw) {
      if (failure_.stored) std::rethrow_exception(failure_.stored);
    }
    return op_.await_resume();
  }

 private:
  struct failure {
    std::exception_ptr stored;
  };
  struct no_failure {};

  Op op_;
  [[no_unique_address]] std::conditional_t<may_throw, failure, no_failure> failure_;
  bool deferred_ = false;
  bool withdrawn_ = false;
};

// The kind of waiter that is a coroutine.
class coroutine_waiter : public waiter {
 protected:
  explicit coroutine_waiter(frame& f) noexcept : waiter(&f.owner_context(), &f) {}
  std::coroutine_handle<> on_complete() noexcept {
    owner_context().go_on();
    return awaiting_frame()->handle();
  }
};

template <operation Op>
class [[nodiscard]] awaiting final : public operation_waiter<Op, coroutine_waiter> {
  using base = operation_waiter<Op, coroutine_waiter>;

 public:
  template <class A>
  awaiting(A&& a, frame& f, std::source_location place)
      : base(std::forward<A>(a), f), place_(place) {}

  bool await_ready() {
    this->owner_context().throw_if_cancelled();
    if (!this->owner_context().in_reactor().spend_budget()) [[unlikely]] {
      spent_ = true;
      return false;
    }
    return this->op().await_ready();
  }

  std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) {
    if (spent_) [[unlikely]] {
      this->defer();
      return std::noop_coroutine();
    }
    const std::coroutine_handle<> next = this->suspend();
    return next ? next : self;
  }

  decltype(auto) await_resume() {
    if (this->withdrawn()) [[unlikely]]
      this->owner_context().throw_cancelled();
    return this->take();
  }

  void describe(description& line) const noexcept override {
    base::describe(line);
    line.print(", at ");
    print_place(line, place_);
  }

 private:
  std::source_location place_;
  bool spent_ = false;
};

// The base of our coroutines' promises: decides which types can be awaited in them.
class awaiting_promise : public frame {
 public:
  using frame::frame;

  template <class A>
  auto await_transform(A&& a, std::source_location place = std::source_location::current()) {
    static_assert(awaitable<A>,
                  "kedge: this type cannot be awaited here: it is not one of Kedge's awaitables "
                  "(see kedge/runtime/awaiting/operation.h for the protocol that makes one)");
    static_assert(
        !std::is_lvalue_reference_v<A> || std::is_trivially_copyable_v<std::remove_cvref_t<A>>,
        "kedge: an awaitable is awaited once: co_await std::move(it)");
    if constexpr (std::is_lvalue_reference_v<A>) {
      return awaiting<operation_of<A>>(std::remove_cvref_t<A>(a), *this, place);
    } else {
      return awaiting<operation_of<A>>(std::move(a), *this, place);
    }
  }
};

}  // namespace kedge
