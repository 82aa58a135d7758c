// waiter: the party that awaits an operation: a coroutine (awaiting<Op>) or a branch of a
// combinator.
//
// An operation receives a waiter& when it is started, keeps it until it has ended, and then calls
// `loop::ready(waiter)`. Sources, setters and destructors do not resume coroutines: only the loop
// does, through proceed().
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>

#include "kedge/runtime/awaiting/description.h"
#include "kedge/runtime/reactor/ready_queue.h"

namespace kedge {

class context;
class frame;

class waiter : public ready_node {
 public:
  // Called when this waiter has its turn. Returns the coroutine to run next, or noop_coroutine().
  virtual std::coroutine_handle<> proceed() noexcept = 0;

  // Asks the awaited operation to end early. Resumes nothing, and does not recurse into the
  // branches below: context::cancel() lists them.
  virtual void withdraw() noexcept = 0;

  // Returns the context of the next suspended branch of the awaited operation after `previous`
  // (null: the first one), or null. For dumps and destruction.
  virtual context* next_branch(const context* previous) const noexcept = 0;

  // Prints what this waiter waits for.
  virtual void describe(description& line) const noexcept = 0;

  context& owner_context() const noexcept { return *context_; }

  // The awaiting coroutine, or null for a branch.
  frame* awaiting_frame() const noexcept { return frame_; }

 protected:
  waiter(context* c, frame* f) noexcept : context_(c), frame_(f) {}
  ~waiter() = default;

 private:
  context* context_;
  frame* frame_;
};

}  // namespace kedge
