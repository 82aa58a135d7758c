// waiter: the party that awaits an operation: a coroutine (awaiting<Op>) or a branch of a
// combinator.
//
// An operation receives a waiter& when it is started, keeps it until it has ended, and then calls
// wake(waiter). Sources, setters and destructors do not resume coroutines: only the loop does,
// through proceed().
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>

#include "kedge/runtime/awaiting/description.h"
#include "kedge/runtime/cancelled.h"
#include "kedge/runtime/reactor/ready_queue.h"

namespace kedge {

class branch_base;
class context;
class frame;

class waiter : public ready_node {
 public:
  // Called when this waiter has its turn. Returns the coroutine to run next, or noop_coroutine().
  virtual std::coroutine_handle<> proceed() noexcept = 0;

  // Asks the awaited operation to end early. Resumes nothing. A waiter that is queued has a result,
  // which stands.
  virtual void withdraw(cancel_cause cause) noexcept = 0;

  // Prints what this waiter waits for.
  virtual void describe(description& line) const noexcept = 0;

  // For a dump: returns the wait after `previous` (null: the first one) of the children without a
  // context that this waiter stands for, or null.
  virtual const waiter* next_leaf(const waiter* previous) const noexcept {
    static_cast<void>(previous);
    return nullptr;
  }

  context& owner_context() const noexcept { return *context_; }

  // The awaiting coroutine, or null for a branch.
  frame* awaiting_frame() const noexcept { return frame_; }

 protected:
  waiter(context* c, frame* f) noexcept : context_(c), frame_(f) {}
  ~waiter() = default;

  void bind_to(context& c) noexcept { context_ = &c; }

 private:
  context* context_;
  frame* frame_;
};

}  // namespace kedge
