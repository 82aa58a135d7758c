// this_task: reads the state from the task's context.
#include "kedge/runtime/this_task.h"

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {
namespace {

// The place of the task. A branch of a combinator has none of its own: that of the task around it.
std::source_location place_of(const context& c) noexcept {
  for (const context* at = &c; at->parent() != nullptr; at = at->parent()) {
    if (at->place().line() != 0) return at->place();
  }
  return c.place();
}

}  // namespace

task_state this_task::state_operation::await_resume() const noexcept {
  task_state s{context_->holder()->owner().branch_name(), place_of(*context_), {}, {}};
  const clock::time_point deadline = context_->deadline();
  if (deadline != clock::time_point::max()) {
    s.time_left = clock::between(context_->in_reactor().now(), deadline);
  }
  if (context_->cancelled()) s.cancelled = context_->cause();
  return s;
}

}  // namespace kedge
