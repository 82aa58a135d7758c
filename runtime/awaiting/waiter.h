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
#include <source_location>

#include "kedge/runtime/awaiting/description.h"
#include "kedge/runtime/cancelled.h"
#include "kedge/runtime/reactor/ready_queue.h"

namespace kedge {

class branch_base;
class context;
class frame;

// How an operation has ended.
enum class outcome : unsigned char {
  none,       // it has not ended
  value,      // await_resume returns
  failed,     // await_resume throws
  cancelled,  // there is no result
};

class waiter : public ready_node {
 public:
  // Called when this waiter has its turn. Returns the coroutine to run next, or noop_coroutine().
  virtual std::coroutine_handle<> proceed() noexcept = 0;

  // Asks the awaited operation to end early. Resumes nothing. A waiter that is queued has a result,
  // which stands.
  virtual void withdraw(cancel_cause cause) noexcept = 0;

  // Prints what this waiter waits for.
  virtual void describe(description& line) const noexcept = 0;

  context& owner_context() const noexcept { return *context_; }

  // The awaiting coroutine, or null for a branch.
  std::coroutine_handle<> awaiting_coroutine() const noexcept { return coroutine_; }
  inline frame* awaiting_frame() const noexcept;  // in frame.h

  // The place of the co_await, line 0 if it is unknown.
  virtual std::source_location place() const noexcept { return {}; }

  // Returns true if the wait was cancelled and ends as such at its turn.
  bool is_withdrawn() const noexcept { return withdrawn_; }

  // Returns true if the coroutine can be resumed without proceed(): its operation has nothing to
  // do at its turn.
  bool resumes_directly() const noexcept { return resumes_directly_; }

 protected:
  waiter(context* c, std::coroutine_handle<> awaiting, bool resumes_directly = false) noexcept
      : resumes_directly_(resumes_directly), context_(c), coroutine_(awaiting) {}
  ~waiter() = default;

  void bind_to(context& c) noexcept { context_ = &c; }
  bool is_bound() const noexcept { return context_ != nullptr; }

  // What operation_waiter knows of its operation. Eight bytes, which are initialised by one store.
  bool resumes_directly_;
  bool deferred_ = false;      // begins at its next turn
  bool withdrawn_ = false;     // ends as cancelled at its next turn
  bool asked_to_end_ = false;  // by withdraw()
  bool is_asked_ = false;      // its operation is being asked for its result
  cancel_cause asked_cause_ = cancel_cause::requested;
  outcome outcome_ = outcome::none;  // of a branch
  bool spare_ = false;

 private:
  context* context_;
  std::coroutine_handle<> coroutine_;
};

}  // namespace kedge
