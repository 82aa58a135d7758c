// forever(): a wait that never ends by itself.
//
//     s.spawn(accept_connections, std::ref(listener));
//     co_await kedge::forever();               // until the scope is cancelled
//
// For a body that only has to stay until it is cancelled. It costs no timer and no system call.
// Making one allocates nothing and is allowed on any thread. Cancellation loses nothing.
#pragma once

#include "kedge/runtime/awaiting/operation.h"

namespace kedge {

class forever_operation {
 public:
  forever_operation() noexcept {}
  forever_operation(const forever_operation&) = delete;
  forever_operation& operator=(const forever_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter&) noexcept { return true; }
  bool await_cancel(cancel_cause) noexcept { return true; }
  // Never called.
  void await_resume() const noexcept {}
  void describe(description& line) const noexcept { line.print("a cancellation"); }
};

class [[nodiscard]] forever {
 public:
  [[nodiscard]] forever() noexcept {}
  forever_operation operator co_await() && noexcept { return forever_operation(); }
};

}  // namespace kedge
