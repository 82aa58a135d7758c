// A waiter: whoever awaits an operation. A coroutine (awaiting<Op>) or a branch of a combinator.
//
// An operation is handed a waiter& when it is started, keeps it until it has ended, and then calls
// `loop::ready(waiter)`: nothing more. Coroutines are not resumed inside sources, setters or
// destructors; the loop's driver does that, through proceed().
#pragma once

#include <coroutine>

#include "kedge/runtime/awaiting/description.h"
#include "kedge/runtime/reactor/ready_queue.h"

namespace kedge {

class context;
class frame;

class waiter : public ready_node {
 public:
  // Called when this waiter has its turn. Returns the coroutine to run, or noop_coroutine().
  virtual std::coroutine_handle<> proceed() noexcept = 0;

  // Asks the awaited operation to end early. Resumes nothing; does not recurse into the branches
  // below (context::cancel lists those).
  virtual void withdraw() noexcept = 0;

  // The contexts of the branches that the awaited operation has running: the one after `previous`
  // (null: the first), or null. For dump and destruction.
  virtual context* next_branch(const context* previous) const noexcept = 0;

  virtual void describe(description& line) const noexcept = 0;

  context& where() const noexcept { return *context_; }

  // The coroutine that awaits; null for a branch.
  frame* awaiting_frame() const noexcept { return frame_; }

 protected:
  waiter(context* c, frame* f) noexcept : context_(c), frame_(f) {}
  ~waiter() = default;

 private:
  context* context_;
  frame* frame_;
};

}  // namespace kedge
