// awaiting<Op>: the awaiter that `co_await x` makes in one of our coroutines.
//
// A wait that begins in a cancelled context does not start: the chain of coroutines ends instead,
// at its next turn. Else the awaiter takes one from the budget, and yields to the other ready tasks
// if none is left. Then it awaits the operation.
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

// One operation and its stage. Base is the kind of waiter, a coroutine or a branch: it derives from
// waiter, and its functions on_suspend(), on_resume(), on_withdrawn() and on_end() say what
// follows.
template <operation Op, class Base>
class operation_waiter : public Base {
 protected:
  using begun = decltype(std::declval<Op&>().await_suspend(std::declval<waiter&>()));
  static constexpr bool enters_coroutine = !std::is_same_v<begun, bool>;
  static constexpr bool settles = requires(Op& op) { op.await_settle(); };
  // Whether asking it for its result may run code of the user's, which may cancel this wait.
  static constexpr bool may_be_cancelled_as_asked =
      settles && !requires { requires Op::calls_no_user_code; };
  static constexpr bool may_throw =
      !noexcept(std::declval<Op&>().await_suspend(std::declval<waiter&>()));
  static constexpr bool is_plain =
      Base::is_coroutine && !settles && !requires(const Op& op) { op.was_cancelled(); };

 public:
  template <class A, class... B>
  explicit operation_waiter(A&& a, B&&... base)
      : Base(std::forward<B>(base)..., is_plain), op_(std::forward<A>(a).operator co_await()) {}

  Op& op() noexcept { return op_; }
  const Op& op() const noexcept { return op_; }

  void withdraw(cancel_cause cause) noexcept override {
    if (ask_to_end(cause)) this->on_withdrawn();
  }

  std::coroutine_handle<> proceed() noexcept override {
    if (this->withdrawn_) [[unlikely]]
      return this->on_end(outcome::cancelled);
    if (this->deferred_) [[unlikely]]
      return begin_deferred();
    if constexpr (settles) {
      if (!ask_settled()) {
        if (this->asked_to_end_) [[unlikely]]
          withdraw(this->asked_cause_);
        return std::noop_coroutine();
      }
      // Code of the user's may have woken this waiter again.
      if constexpr (may_be_cancelled_as_asked) this->unlink();
    }
    return end();
  }

  void describe(description& line) const noexcept override { op_.describe(line); }

 protected:
  // A wait does not begin if its context is cancelled, or if it was withdrawn before its turn.
  bool is_refused() const noexcept {
    return kind_of<Op> == operation_kind::wait &&
           (this->asked_to_end_ || this->owner_context().cancelled());
  }
  // Asks the operation to end early. Returns true if its wait is withdrawn.
  bool ask_to_end(cancel_cause cause) noexcept {
    if (!has_result_coming() && op_.await_cancel(cause)) return true;
    this->asked_to_end_ = true;
    this->asked_cause_ = cause;
    return false;
  }
  // What comes of its turn, or of its being asked, decides.
  bool has_result_coming() const noexcept {
    if constexpr (may_be_cancelled_as_asked) {
      if (this->is_asked_) return true;
    }
    return this->queued();
  }
  // Starts the operation at this waiter's next turn instead of now.
  void defer() noexcept {
    this->deferred_ = true;
    wait_for_turn();
  }
  // Ends as cancelled at this waiter's next turn.
  void give_up() noexcept {
    this->withdrawn_ = true;
    wait_for_turn();
  }

  // Begins at its turn. Out of line, to keep proceed() small.
  [[gnu::noinline]] std::coroutine_handle<> begin_deferred() noexcept {
    this->deferred_ = false;
    this->resumes_directly_ = is_plain;
    if (is_refused()) return this->on_end(outcome::cancelled);
    this->on_resume();
    if (const std::coroutine_handle<> next = begin()) return next;
    return end();
  }

  // Asks the operation for its result. An operation that tries a transfer may run code of the
  // user's, which may cancel this wait: withdraw() then only notes that.
  bool ask_ready() noexcept {
    if constexpr (may_be_cancelled_as_asked) this->is_asked_ = true;
    bool ended;
    if constexpr (requires { op_.await_ready(); }) {
      ended = op_.await_ready();
    } else {
      ended = op_.await_ready(*this);
    }
    if constexpr (may_be_cancelled_as_asked) this->is_asked_ = false;
    return ended;
  }
  bool ask_settled() noexcept {
    if constexpr (!may_be_cancelled_as_asked) return op_.await_settle();
    this->is_asked_ = true;
    const bool ended = op_.await_settle();
    this->is_asked_ = false;
    return ended;
  }

  // Starts the operation. Returns null if it has ended, else the coroutine to run while it waits.
  std::coroutine_handle<> begin() noexcept { return ask_ready() ? nullptr : begin_unready(); }
  // The same, of an operation that has been asked and was not ready.
  std::coroutine_handle<> begin_unready() noexcept {
    if constexpr (may_be_cancelled_as_asked) {
      if (is_refused()) [[unlikely]] {  // await_ready() has cancelled it
        this->withdrawn_ = true;
        return nullptr;
      }
    }
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
    if constexpr (kind_of<Op> == operation_kind::coroutine) {
      return op_.await_suspend(*this);
    } else {
      this->on_suspend();
      if constexpr (enters_coroutine) {
        const std::coroutine_handle<> next = link();
        if (!next) on_not_suspended();
        return next;
      } else {
        if (link()) return std::noop_coroutine();
        on_not_suspended();
        return nullptr;
      }
    }
  }

  // The operation has ended within await_suspend(), or has thrown. It may have woken this waiter.
  // Out of line, to keep the code of each await small.
  [[gnu::noinline]] void on_not_suspended() noexcept {
    this->unlink();
    this->on_resume();
  }

  begun link() noexcept(!may_throw) {
    if constexpr (may_throw) {
      try {
        return op_.await_suspend(*this);
      } catch (...) {
        on_not_suspended();
        throw;
      }
    } else {
      return op_.await_suspend(*this);
    }
  }

  // Goes on after the operation's end. Returns the coroutine to run next.
  std::coroutine_handle<> end() noexcept { return this->on_end(how_it_ended()); }
  // A failure of a coroutine's wait counts as a value: await_resume() throws it.
  outcome how_it_ended() noexcept {
    if (this->withdrawn_ || ended_cancelled()) [[unlikely]]
      return outcome::cancelled;
    if constexpr (!Base::is_coroutine) {
      if (has_failed()) return outcome::failed;
    }
    return outcome::value;
  }

  bool ended_cancelled() const noexcept {
    if constexpr (requires { op_.was_cancelled(); }) {
      return !start_failed() && op_.was_cancelled();
    } else {
      return false;
    }
  }
  bool start_failed() const noexcept {
    if constexpr (may_throw) return failure_.stored != nullptr;
    return false;
  }
  bool has_failed() noexcept {
    if constexpr (requires { op_.await_failure(); }) {
      return start_failed() || op_.await_failure() != nullptr;
    } else {
      return start_failed();
    }
  }
  // Returns the exception that take() would throw, or null.
  std::exception_ptr failure_of_operation() noexcept {
    if constexpr (may_throw) {
      if (failure_.stored) return failure_.stored;
    }
    if constexpr (requires { op_.await_failure(); }) {
      return op_.await_failure();
    } else {
      return nullptr;
    }
  }

  decltype(auto) take() {
    if constexpr (may_throw) {
      if (failure_.stored) [[unlikely]]
        std::rethrow_exception(failure_.stored);
    }
    return op_.await_resume();
  }

  void wait_for_turn() noexcept {
    this->resumes_directly_ = false;
    this->on_suspend();
    wake(*this);
  }

 private:
  struct failure_slot {
    std::exception_ptr stored;
  };
  struct no_failure {};

  Op op_;
  [[no_unique_address]] std::conditional_t<may_throw, failure_slot, no_failure> failure_;
};

// The kind of waiter that is a coroutine.
class coroutine_waiter : public waiter {
 protected:
  static constexpr bool is_coroutine = true;

  coroutine_waiter(frame& f, bool resumes_directly) noexcept
      : waiter(&f.owner_context(), f.handle(), resumes_directly) {}
  ~coroutine_waiter() = default;

  void on_suspend() noexcept { owner_context().suspend_on(*this); }
  void on_resume() noexcept { owner_context().run(); }
  // The chain is destroyed at the waiter's turn, not here.
  void on_withdrawn() noexcept {
    withdrawn_ = true;
    resumes_directly_ = false;
    wake(*this);
  }
  std::coroutine_handle<> on_end(outcome o) noexcept {
    if (o == outcome::cancelled) [[unlikely]] {
      on_suspend();  // the chain is destroyed from this waiter outwards
      return owner_context().end_cancelled();
    }
    owner_context().run();
    return awaiting_coroutine();
  }
};

template <operation Op>
class [[nodiscard]] awaiting final : public operation_waiter<Op, coroutine_waiter> {
  using base = operation_waiter<Op, coroutine_waiter>;

 public:
  template <class A>
  awaiting(A&& a, frame& f, const std::source_location& place)
      : base(std::forward<A>(a), f), place_(place) {}

  bool await_ready() noexcept {
    if (this->is_refused() || !this->owner_context().in_reactor().spend_budget()) [[unlikely]] {
      this->deferred_ = true;
      return false;
    }
    if (this->ask_ready()) return true;
    if constexpr (base::may_be_cancelled_as_asked) {
      if (this->is_refused()) [[unlikely]]
        this->deferred_ = true;  // await_ready() has cancelled it
    }
    return false;
  }

  // An operation that enters no coroutine gives a bool: g++ then transfers control nowhere.
  auto await_suspend(std::coroutine_handle<> self) noexcept(!base::may_throw) {
    if constexpr (base::enters_coroutine) {
      if (this->deferred_) [[unlikely]] {
        this->wait_for_turn();
        return std::coroutine_handle<>(std::noop_coroutine());
      }
      if (const std::coroutine_handle<> next = this->suspend()) return next;
      if (!this->ended_cancelled()) return self;
      this->give_up();
      return std::coroutine_handle<>(std::noop_coroutine());
    } else {
      if (this->deferred_) [[unlikely]] {
        this->wait_for_turn();
        return true;
      }
      if (this->suspend()) return true;
      if (!this->ended_cancelled()) return false;
      this->give_up();
      return true;
    }
  }

  decltype(auto) await_resume() { return this->take(); }

  void describe(description& line) const noexcept override {
    base::describe(line);
    line.print(", at ");
    print_place(line, place_);
  }
  std::source_location place() const noexcept override { return place_; }

 private:
  std::source_location place_;
};

// The base of our coroutines' promises: decides which types can be awaited in them.
class awaiting_promise : public frame {
 public:
  template <class A>
  auto await_transform(A&& a, std::source_location place = std::source_location::current()) {
    static_assert(awaitable<A>,
                  "kedge: this type cannot be awaited here: it is not one of Kedge's awaitables. "
                  "Use foreign(x) for an awaitable of another library, callback<T>(start) for a "
                  "callback (kedge/runtime/awaiting/operation.h has the protocol of our own)");
    static_assert(
        !std::is_lvalue_reference_v<A> || std::is_trivially_copyable_v<std::remove_cvref_t<A>>,
        "kedge: an awaitable is awaited once: co_await std::move(it)");
    if constexpr (std::is_lvalue_reference_v<A>) {
      return awaiting<operation_of<A>>(std::remove_cvref_t<A>(a), *this, place);
    } else if constexpr (requires { std::move(a).in_coroutine(); }) {
      // The awaitable stands for another one in a coroutine.
      using other = decltype(std::move(a).in_coroutine());
      return awaiting<operation_of<other>>(std::move(a).in_coroutine(), *this, place);
    } else {
      return awaiting<operation_of<A>>(std::move(a), *this, place);
    }
  }
};

}  // namespace kedge
