// this_task: what a task can ask about itself.
//
//     const kedge::task_state now = co_await kedge::this_task::state();
//     if (now.time_left && *now.time_left < 10ms) co_return;   // not worth beginning
//
// state() does not wait: it also ends at once in a cancelled task, which goes on to its next wait.
//
// Threads: the loop's thread only.
#pragma once

#include <optional>
#include <source_location>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/clock.h"

namespace kedge {

struct task_state {
  // The name that named() has given the task, or in a branch of a combinator the task around it;
  // valid until that task has ended. Without a name what the task is to its parent, as in a dump:
  // "child", "run", "body of with_scope" ...; a literal.
  const char* name;
  // Where the task was spawned or run, or awaited under its name. In a branch of a combinator: the
  // task around it.
  std::source_location place;
  // Until the nearest deadline of the with_timeout() and with_deadline() around it; zero if that
  // has passed, nothing if there is none.
  std::optional<clock::duration> time_left;
  // Why the task is cancelled; nothing if it is not. Its next wait ends it.
  std::optional<cancel_cause> cancelled;
};

namespace this_task {

class state_operation {
 public:
  static constexpr operation_kind kind = operation_kind::composite;

  state_operation() noexcept {}
  state_operation(const state_operation&) = delete;
  state_operation& operator=(const state_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) noexcept {
    context_ = &w.owner_context();
    return false;
  }
  // Never called: it never waits.
  bool await_cancel(cancel_cause) noexcept { return false; }
  task_state await_resume() const noexcept;
  void describe(description& line) const noexcept { line.print("its own state"); }

 private:
  const context* context_ = nullptr;
};

class [[nodiscard]] state {
 public:
  [[nodiscard]] state() noexcept {}
  state_operation operator co_await() && noexcept { return state_operation(); }
};

// Returns true while destructors run because a coroutine was cancelled, or was destroyed where it
// waits. std::uncaught_exceptions() does not rise then. The guards of scope_guard.h ask this.
inline bool unwinding() noexcept {
  return unwinding_chains() != 0;
}

}  // namespace this_task
}  // namespace kedge
