// named(name, x), named(name, fn): gives a task a name of the program's, for people to read.
//
//     s.spawn(kedge::named("reader 7", read_all), std::ref(connection));
//     const auto rules = co_await kedge::named("parse the rules", parse(file));
//     co_await kedge::named("clients", kedge::with_scope(body));
//
// loop::dump(), this_task::state(), the report of a stall_watch, the messages of a program that is
// ended, and context::name() for observers give the name. It is the task's own: what the task
// starts does not inherit it. Names need not differ.
//
// What is spawned, run, or a branch of a combinator under a name is named itself. What a coroutine
// awaits under a name runs in a branch below the coroutine, which has the name.
//
// The name lives with the operation that it names. Tasks without a name cost nothing more.
// Cancellation loses what x loses.
//
// Threads: as x; named() itself may be called on any thread.
#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/awaiting/single_branch.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/errc.h"

namespace kedge {

// What a debugger reads of a named operation.
class name_holder {
 public:
  const char* given_name() const noexcept { return name_.c_str(); }

 protected:
  explicit name_holder(std::string&& name) noexcept : name_(std::move(name)) {}
  ~name_holder() = default;

 private:
  std::string name_;
};

// An operation with a name, which is the operation in all else.
template <operation Op>
class named_operation final : public name_holder {
 public:
  static constexpr operation_kind kind = kind_of<Op>;

  template <class A>
  named_operation(std::string&& name, A&& a)
      : name_holder(std::move(name)), op_(std::forward<A>(a).operator co_await()) {}
  named_operation(const named_operation&) = delete;
  named_operation& operator=(const named_operation&) = delete;

  bool await_ready() noexcept
    requires requires(Op& op) { op.await_ready(); }
  {
    return op_.await_ready();
  }
  bool await_ready(waiter& w) noexcept
    requires requires(Op& op) { op.await_ready(w); }
  {
    return op_.await_ready(w);
  }
  auto await_suspend(waiter& w) noexcept(noexcept(std::declval<Op&>().await_suspend(w))) {
    return op_.await_suspend(w);
  }
  bool await_settle() noexcept
    requires requires(Op& op) { op.await_settle(); }
  {
    return op_.await_settle();
  }
  bool await_ended() const noexcept
    requires requires(const Op& op) { op.await_ended(); }
  {
    return op_.await_ended();
  }
  void await_again() noexcept
    requires requires(Op& op) { op.await_again(); }
  {
    op_.await_again();
  }
  bool await_cancel(cancel_cause cause) noexcept { return op_.await_cancel(cause); }
  bool was_cancelled() const noexcept
    requires requires(const Op& op) { op.was_cancelled(); }
  {
    return op_.was_cancelled();
  }
  std::exception_ptr await_failure() noexcept
    requires requires(Op& op) { op.await_failure(); }
  {
    return op_.await_failure();
  }
  auto await_expired(errc why) && noexcept
    requires requires(Op&& op) { std::move(op).await_expired(why); }
  {
    return std::move(op_).await_expired(why);
  }
  decltype(auto) await_resume() { return op_.await_resume(); }
  void describe(description& line) const noexcept { op_.describe(line); }

 private:
  Op op_;
};

template <class Named>
class named_branch_awaitable;

template <awaitable A>
class [[nodiscard]] named_awaitable {
 public:
  named_awaitable(std::string&& name, A&& x) : name_(std::move(name)), x_(std::move(x)) {}

  named_operation<operation_of<A>> operator co_await() && {
    return named_operation<operation_of<A>>(std::move(name_), std::move(x_));
  }
  // What a coroutine awaits instead (see awaiting_promise): its own context has its own name.
  named_branch_awaitable<named_awaitable> in_coroutine() && {
    return named_branch_awaitable<named_awaitable>(std::move(*this));
  }

 private:
  std::string name_;
  A x_;
};

// Holds a named_awaitable in a branch with a context.
template <class Named>
class named_branch_operation final : public context_branch<Named> {
 public:
  explicit named_branch_operation(Named&& x) : context_branch<Named>(std::move(x)) {}

  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    this->held.enter_context(w.owner_context());
    this->held.set_place(w.place());
    return this->begun(w, this->held.start_entered_directly());
  }
  void describe(description& line) const noexcept {
    line.print("\"%s\"", this->held.op().given_name());
  }

 private:
  const char* branch_name() const noexcept override { return "task"; }
};

template <class Named>
class [[nodiscard]] named_branch_awaitable {
 public:
  explicit named_branch_awaitable(Named&& x) : named_(std::move(x)) {}
  named_branch_operation<Named> operator co_await() && {
    return named_branch_operation<Named>(std::move(named_));
  }

 private:
  Named named_;
};

template <class Fn>
class named_callable {
 public:
  using callable = Fn;

  template <class F>
  named_callable(std::string&& name, F&& fn) : name_(std::move(name)), fn_(std::forward<F>(fn)) {}

  // At most once: hands the name on.
  template <class... Args>
    requires std::is_invocable_v<Fn, Args...>
  auto operator()(Args&&... args) {
    using made = std::invoke_result_t<Fn, Args...>;
    static_assert(awaitable<made> && !std::is_reference_v<made>,
                  "kedge: named() takes a callable that gives an awaitable");
    made x = std::invoke(std::move(fn_), std::forward<Args>(args)...);
    return named_awaitable<made>(std::move(name_), std::move(x));
  }

 private:
  std::string name_;
  [[no_unique_address]] Fn fn_;
};

// A name changes nothing else.
template <class Fn>
inline constexpr bool is_background<named_callable<Fn>> = is_background<Fn>;

// Gives the value of x or throws its exception. May throw std::bad_alloc for a name of more than 15
// characters.
template <passed_awaitable A>
named_awaitable<A> named(std::string name, A&& x) {
  return named_awaitable<A>(std::move(name), std::move(x));
}

// A callable for spawn(), with_scope() and others that call it once. The awaitable that fn(args...)
// gives has the name.
template <class Fn>
  requires(!awaitable<Fn>)
named_callable<std::decay_t<Fn>> named(std::string name, Fn&& fn) {
  return named_callable<std::decay_t<Fn>>(std::move(name), std::forward<Fn>(fn));
}

}  // namespace kedge
