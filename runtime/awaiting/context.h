// context: the environment of a chain of coroutines: its loop, its cancellation, and the waiter
// that the chain is suspended on.
//
// Every chain (a root task, a child of a scope, a branch of a combinator) has a context, which its
// coroutines share. The body of a scope has one too, and its children's are below it. Contexts form
// a tree by links of their own, so cancelling, destroying and printing a tree of any depth are
// loops.
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>
#include <source_location>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/cancelled.h"
#include "kedge/runtime/reactor/clock.h"

namespace kedge {

class bound_value;
class branch_base;
class reactor;

class context {
 public:
  // Makes a context that is in no tree. `holder` is told when the chain has been destroyed.
  explicit context(branch_base* holder) noexcept : holder_(holder) {}
  context(const context&) = delete;
  context& operator=(const context&) = delete;
  ~context() { leave(); }

  // Enters the tree of the loop `r`, as a root.
  void enter_root(reactor& r) noexcept {
    reactor_ = &r;
    previous_ = next_ = nullptr;
    values_ = nullptr;
  }
  // Enters the tree below `parent`, as its newest child. Below a cancelled context the new one is
  // cancelled too.
  void enter(context& parent) noexcept {
    link(parent);
    if (parent.cancelled_) [[unlikely]] {
      cancelled_ = true;
      cause_ = parent.cause_;
    }
  }
  // The same, but no cancellation from above reaches the context.
  void enter_shielded(context& parent) noexcept {
    link(parent);
    shielded_ = true;
  }
  // Leaves the tree. No effect on a context that is in none.
  void leave() noexcept {
    if (parent_ == nullptr) return;
    (previous_ != nullptr ? previous_->next_ : parent_->first_child_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
    parent_ = nullptr;
  }

  reactor& in_reactor() const noexcept { return *reactor_; }
  context* parent() const noexcept { return parent_; }
  // The newest context below this one, or null.
  context* first_child() const noexcept { return first_child_; }
  // The next older context below the same parent, or null.
  context* next_sibling() const noexcept { return next_; }
  // The next newer context below the same parent, or null.
  context* previous_sibling() const noexcept { return previous_; }
  // The branch that runs the chain. Null for the root of a loop's tree, which runs none.
  branch_base* holder() const noexcept { return holder_; }
  void set_holder(branch_base& b) noexcept { holder_ = &b; }

  bool cancelled() const noexcept { return cancelled_; }
  cancel_cause cause() const noexcept { return cause_; }

  // Cancels this context and all contexts below it, but for shielded ones: marks each, then
  // withdraws the wait that it is suspended on. Skips contexts that are cancelled already. Resumes
  // nothing and runs no user code. A chain whose wait was withdrawn is destroyed at its next turn.
  void cancel(cancel_cause cause) noexcept;

  // Takes the cancellation back. For the root of a loop, once all below it have ended.
  void revive() noexcept { cancelled_ = false; }

  // The innermost waiter while the chain is suspended. Null while the chain runs and when it has
  // ended.
  waiter* suspended_on() const noexcept { return suspended_on_; }
  void suspend_on(waiter& w) noexcept { suspended_on_ = &w; }
  void run() noexcept { suspended_on_ = nullptr; }

  // Ends the chain, which was cancelled: destroys its coroutines, innermost first, and tells the
  // holder. Returns the coroutine to run next.
  std::coroutine_handle<> end_cancelled() noexcept;

  // Destroys the suspended coroutines of this context and of all contexts below it, innermost
  // first.
  void destroy() noexcept {
    if (suspended_on_ != nullptr || first_child_ != nullptr) destroy_tree();
  }

  // Returns the earliest deadline of the with_timeout() and with_deadline() around the chain, up to
  // the nearest shield(), in time linear in the depth of the tree.
  clock::time_point deadline() const noexcept;

  // The name that named() has given the chain, or null. Valid until the chain has ended.
  const char* name() const noexcept;

  // The context of the task to which the chain belongs: the nearest one with a place, this one or
  // above. This one if there is none.
  const context& of_task() const noexcept;

  // Where the chain was spawned or run, for dumps and messages. Unknown for a branch of a
  // combinator, which stands below the wait that it belongs to.
  const std::source_location& place() const noexcept { return place_; }
  void set_place(std::source_location place) noexcept { place_ = place; }

  // The innermost value that with_value() has bound for the chain (see task_local.h), or null.
  const bound_value* values() const noexcept { return values_; }
  void set_values(const bound_value& innermost) noexcept { values_ = &innermost; }

  // Counts a report of the cancellation by attempt(). Ends the program at the 1,000th: a chain that
  // goes on so long is not going to stop.
  void count_report() noexcept;

 private:
  void link(context& parent) noexcept {
    reactor_ = parent.reactor_;
    values_ = parent.values_;
    parent_ = &parent;
    previous_ = nullptr;
    next_ = parent.first_child_;
    if (next_ != nullptr) next_->previous_ = this;
    parent.first_child_ = this;
  }
  void cancel_tree(cancel_cause cause) noexcept;
  void withdraw_wait() noexcept;
  void destroy_tree() noexcept;
  void destroy_frames() noexcept;
  static context* after_in_tree(context& c, const context& top, bool below) noexcept;

  reactor* reactor_;  // of one that is in a tree
  context* parent_ = nullptr;
  context* first_child_ = nullptr;
  context* previous_;  // the next newer sibling, if there is a parent
  context* next_;      // the next older sibling, if there is a parent
  waiter* suspended_on_ = nullptr;
  branch_base* holder_;
  const bound_value* values_;  // of one that is in a tree
  std::source_location place_{};
  // Eight bytes, which are initialised by one store.
  bool cancelled_ = false;
  cancel_cause cause_ = cancel_cause::requested;
  bool shielded_ = false;
  bool destroyed_ = false;    // destroy() has destroyed its coroutines
  bool withdrawing_ = false;  // cancel() has marked it, and has yet to withdraw its wait
  [[maybe_unused]] bool spare_ = false;
  unsigned short reports_ = 0;
};

// Prints a place in the source as "file:line", the file name from its last "kedge/" on.
void print_place(description& line, const std::source_location& place) noexcept;

// Ends the program with a message that names the chain and its place.
[[noreturn]] void stop(const context& c, const char* what) noexcept;

// How many destructions of a chain are in progress on the calling thread: not zero while
// destructors run because of a cancellation.
unsigned unwinding_chains() noexcept;

}  // namespace kedge
