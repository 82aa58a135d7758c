// handled(fn, on_failure): a callable for spawn() whose failure is handled where it happens.
//
//     s.spawn(kedge::handled(serve, [](std::exception_ptr e) { log(e); }), std::move(connection));
//
// The child runs fn(args...). If that fails, it calls on_failure(std::exception_ptr) and ends
// normally: the failure is not the scope's, and the other children go on. on_failure may give an
// awaitable, which the child awaits. An exception of on_failure is a failure of the child, as
// usual. A cancellation is not a failure: on_failure is not called, and is destroyed in its wait.
//
// Unlike a callable that is spawned by itself, fn is called at the child's turn, so on_failure
// handles an exception of the call too. The child keeps both callables and the arguments.
//
// background(handled(fn, on_failure)) and handled(background(fn), on_failure) are the same.
//
// Threads: the loop's thread only.
#pragma once

#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include "kedge/runtime/background.h"
#include "kedge/runtime/task.h"

namespace kedge {

template <class Fn, class Handler>
class handled_callable {
 public:
  using callable = Fn;

  template <class F, class H>
  handled_callable(std::in_place_t, F&& fn, H&& on_failure)
      : fn_(std::forward<F>(fn)), on_failure_(std::forward<H>(on_failure)) {}

  // The callable and the arguments outlive the task, as in a child.
  template <class... Args>
    requires std::is_invocable_v<Fn, Args...>
  task<> operator()(Args&&... args) {
    std::exception_ptr failure;
    try {
      co_await std::invoke(std::move(fn_), std::forward<Args>(args)...);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure == nullptr) co_return;
    if constexpr (awaitable<std::invoke_result_t<Handler, std::exception_ptr>>) {
      co_await std::invoke(std::move(on_failure_), std::move(failure));
    } else {
      std::invoke(std::move(on_failure_), std::move(failure));
    }
  }

 private:
  [[no_unique_address]] Fn fn_;
  [[no_unique_address]] Handler on_failure_;
};

template <class Fn, class Handler>
inline constexpr bool is_background<handled_callable<Fn, Handler>> = is_background<Fn>;

template <class Fn, class Handler>
handled_callable<std::decay_t<Fn>, std::decay_t<Handler>> handled(Fn&& fn, Handler&& on_failure) {
  static_assert(std::is_invocable_v<std::decay_t<Handler>, std::exception_ptr>,
                "kedge: handled() calls on_failure(std::exception_ptr)");
  return {std::in_place, std::forward<Fn>(fn), std::forward<Handler>(on_failure)};
}

}  // namespace kedge
