// operation, awaitable: the protocol of awaiting.
//
// An *awaitable* is an inert value. Making one touches neither loop nor kernel and is allowed on
// any thread; dropping it unawaited has no effect. `operator co_await() &&` builds its *operation*.
//
// An *operation* is immovable, has a constructor (g++ 12 destroys aggregate temporaries of a
// co_await expression twice), and lives in the frame of the awaiting coroutine, or in a branch. All
// its functions run on the loop's thread. Its states:
//
//     idle -> waiting -> completed | withdrawn -> consumed         (waiting is left exactly once)
//
//   bool await_ready() noexcept
//       Returns true if the operation has ended without blocking. It then holds the result. An
//       operation that begins others takes the waiter, as await_ready(waiter& w).
//   bool await_suspend(waiter& w)
//       Links the operation into its source, which calls wake(w) when it ends the operation.
//       Returns false if the operation has ended during the call. If it throws, nothing has
//       happened. (An operation that enters a coroutine returns the coroutine to run next instead
//       of a bool, and null if it has ended.)
//   bool await_settle() noexcept                                                       [optional]
//       Called when w has its turn, just before the awaiting coroutine is resumed. Takes the result
//       from the kernel here, so that a cancellation before this turn loses none. Returns false
//       after a false alarm: the operation waits on.
//   bool await_ended() const noexcept                                                    [optional]
//       Returns whether the operation, which was started, has ended. select() accepts an operation
//       without await_settle() that has this function.
//   void await_again() noexcept                                    [optional, beside await_ended()]
//       Called by select() after a false alarm of another operation. Takes from the source, which
//       may have passed over this operation while w was queued.
//   bool await_cancel(cancel_cause) noexcept
//       Asks the operation to end early. Called only while the operation waits and w is not queued.
//       Returns true if the operation is withdrawn: it has had no effect and will have none, and
//       await_resume is never called. Returns false if the operation will end by itself.
//   bool was_cancelled() const noexcept                                                  [optional]
//       Returns, after the end, whether a cancellation ended the operation. The awaiting coroutine
//       is then destroyed instead of resumed. Without this function the result stands.
//   std::exception_ptr await_failure() noexcept            [for operations whose result is thrown]
//       Returns, after the end, the exception that await_resume will throw, or null. Branches and
//       children pass their failures on by it, without a throw.
//   E await_expired(errc) && noexcept                                                   [optional]
//       For operations that give result<T, E>: returns the error of a withdrawn operation whose
//       deadline has passed. An unsent message is handed back this way.
//   T await_resume()
//       Called exactly once. Returns the result.
//   ~operation()
//       Called in any state, even when source and loop are gone. Unlinks the operation and returns
//       what it reserved.
//   void describe(description&) const noexcept
//       Prints one line for loop::dump().
//   static constexpr operation_kind kind                               [optional, by default: wait]
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/cancelled.h"

namespace kedge {

enum class operation_kind : unsigned char {
  wait,       // waits by itself. Does not begin in a cancelled context: the chain ends instead
  composite,  // starts other operations. Begins in a cancelled context too
  coroutine,  // a coroutine in the context of its awaiter. Begins in a cancelled context too
};

template <class Op>
concept operation =
    std::is_class_v<Op> && !std::is_aggregate_v<Op> && !std::is_move_constructible_v<Op> &&
    (
        requires(Op& op) {
          { op.await_ready() } noexcept -> std::same_as<bool>;
        } ||
        requires(Op& op, waiter& w) {
          { op.await_ready(w) } noexcept -> std::same_as<bool>;
        }) &&
    requires(Op& op, const Op& seen, waiter& w, cancel_cause cause, description& line) {
      op.await_suspend(w);
      { op.await_cancel(cause) } noexcept -> std::same_as<bool>;
      op.await_resume();
      { seen.describe(line) } noexcept;
    };

// Satisfied if an rvalue of type A can be awaited in our coroutines.
template <class A>
concept awaitable = requires(std::remove_cvref_t<A>&& a) {
  { std::move(a).operator co_await() } -> operation;
};

namespace operation_detail {

template <class A>
struct passed {
  static_assert(!(std::is_lvalue_reference_v<A> && awaitable<A>),
                "kedge: an awaitable is awaited once: pass std::move(it)");
  static constexpr bool value = !std::is_lvalue_reference_v<A> && awaitable<A>;
};
template <class A>
struct called {
  static_assert(awaitable<A> || !std::is_invocable_v<A>,
                "kedge: this takes an awaitable, and no callable: call it, f()");
  static constexpr bool value = passed<A>::value;
};

}  // namespace operation_detail

// Satisfied by the parameter of an `A&&` that is an awaitable, passed as an rvalue. If it is an
// lvalue the program does not compile, and the compiler names the remedy.
template <class A>
concept passed_awaitable = operation_detail::passed<A>::value;

// The same, for functions that take no block: a callable is refused likewise.
template <class A>
concept called_awaitable = operation_detail::called<A>::value;

template <class Op>
inline constexpr operation_kind kind_of = operation_kind::wait;
template <class Op>
  requires requires { Op::kind; }
inline constexpr operation_kind kind_of<Op> = Op::kind;

template <awaitable A>
using operation_of = decltype(std::declval<std::remove_cvref_t<A>&&>().operator co_await());

// The type of the result of awaiting an A.
template <awaitable A>
using awaited_t = decltype(std::declval<operation_of<A>&>().await_resume());

}  // namespace kedge
