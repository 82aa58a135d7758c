// The protocol of awaiting: awaitables and operations.
//
// An *awaitable* is an inert value. Making one touches neither loop nor kernel and is allowed on
// any thread; dropping it unawaited does nothing. `operator co_await() &&` builds its *operation*.
//
// An *operation* is immovable, has a constructor (g++ 12 destroys aggregate temporaries of a
// co_await expression twice), and lives in the frame of whoever awaits. Its states:
//
//     idle -> waiting -> completed | withdrawn -> consumed         (waiting is left exactly once)
//
//   bool await_ready() noexcept
//       true: done without blocking, the result is in here.
//   bool await_suspend(waiter& w)
//       Links into the source; whoever ends the operation calls loop::ready(w). False: done
//       meanwhile. May throw: then nothing has happened. (A task's operation returns the coroutine
//       to run next instead of a bool.)
//   bool await_settle() noexcept                                                       [optional]
//       Called when w has its turn, just before it goes on. Here a result is taken from the kernel,
//       so that none is lost in between. False: it was a false alarm, the operation waits again.
//   cancel_result await_cancel() noexcept
//       Asked only while waiting, and not once w is queued. See cancel_result.
//   bool was_cancelled() const noexcept                     [for operations that answer `pending`]
//       After the end: did it end because of await_cancel? Then await_resume throws `cancelled`.
//   bool await_failed() const noexcept                  [for operations whose await_resume throws]
//   T await_resume()
//       Exactly once: hands the result out.
//   ~operation()
//       In any state, even with source and loop gone: unlinks itself, gives back what it reserved.
//   void describe(description&) const noexcept
//       One line for loop::dump().
//   context* next_branch(const context* previous) const noexcept          [optional: combinators]
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/waiter.h"

namespace kedge {

enum class cancel_result : unsigned char {
  withdrawn,  // nothing happened or will; await_resume is never called
  completed,  // too late, the result stands
  pending,    // will end by itself; then ask was_cancelled()
};

template <class Op>
concept operation =
    std::is_class_v<Op> && !std::is_aggregate_v<Op> && !std::is_move_constructible_v<Op> &&
    requires(Op& op, const Op& seen, waiter& w, description& line) {
      { op.await_ready() } noexcept -> std::same_as<bool>;
      op.await_suspend(w);
      { op.await_cancel() } noexcept -> std::same_as<cancel_result>;
      op.await_resume();
      { seen.describe(line) } noexcept;
    };

// Whether A, given up by its owner, can be awaited here.
template <class A>
concept awaitable = requires(std::remove_cvref_t<A>&& a) {
  { std::move(a).operator co_await() } -> operation;
};

template <awaitable A>
using operation_of = decltype(std::declval<std::remove_cvref_t<A>&&>().operator co_await());

// What awaiting A gives.
template <awaitable A>
using awaited_t = decltype(std::declval<operation_of<A>&>().await_resume());

}  // namespace kedge
