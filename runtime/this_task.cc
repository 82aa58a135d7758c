// this_task: reads the state from the task's context.
#include "kedge/runtime/this_task.h"

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {
namespace {

// The name that the program has given, to the chain or to the task around it.
const char* name_of(const context& c) noexcept {
  const char* const own = c.name();
  return own != nullptr ? own : c.of_task().name();
}

}  // namespace

task_state this_task::state_operation::await_resume() const noexcept {
  const char* const name = name_of(*context_);
  task_state s{name != nullptr ? name : context_->holder()->owner().branch_name(),
               context_->of_task().place(),
               {},
               {}};
  const clock::time_point deadline = context_->deadline();
  if (deadline != clock::time_point::max()) {
    s.time_left = clock::between(context_->in_reactor().now(), deadline);
  }
  if (context_->cancelled()) s.cancelled = context_->cause();
  return s;
}

}  // namespace kedge
