// yield(): puts the task at the back of the ready queue, so that the other ready tasks run first.
//
// A yield that has begun cannot be cancelled: it ends at its turn, and the next wait ends the task.
#pragma once

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

class yield_operation {
 public:
  yield_operation() noexcept {}
  yield_operation(const yield_operation&) = delete;
  yield_operation& operator=(const yield_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) noexcept {
    wake(w);
    return true;
  }
  // Never called: the waiter is in the ready queue while it waits.
  bool await_cancel(cancel_cause) noexcept { return false; }
  void await_resume() const noexcept {}
  void describe(description& line) const noexcept { line.print("its turn"); }
};

class [[nodiscard]] yield {
 public:
  [[nodiscard]] yield() noexcept {}
  yield_operation operator co_await() && noexcept { return yield_operation(); }
};

}  // namespace kedge
