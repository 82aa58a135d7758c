// context: the environment of a chain of coroutines: its loop, its cancellation, and the waiter at
// which the chain stands.
//
// Every chain (a root task, a child of a scope, a branch of a combinator) has one context; a
// coroutine inherits its awaiter's. Contexts form a tree: the waiter at which a suspended context
// stands knows the contexts of its branches.
//
// Threads: the loop's thread only.
#pragma once

#include <source_location>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/cancelled.h"

namespace kedge {

class reactor;

class context {
 public:
  context() = default;
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  // Places the context in the loop `r`, below `from`, or as a root if `from` is null. Below a
  // cancelled context it is cancelled from the beginning.
  void bind(reactor& r, const context* from) noexcept {
    reactor_ = &r;
    if (from == nullptr) return;
    cancelled_ = from->cancelled_;
    cause_ = from->cause_;
  }

  reactor& in_reactor() const noexcept { return *reactor_; }
  bool bound() const noexcept { return reactor_ != nullptr; }

  bool cancelled() const noexcept { return cancelled_; }
  cancel_cause cause() const noexcept { return cause_; }

  // Cancels this context and all contexts below it: marks each, and withdraws the wait at which it
  // stands. Skips contexts that are cancelled already. Runs no user code, and does not recurse,
  // however deep the tree. A withdrawn wait continues at its next turn, and throws `cancelled`
  // unless its result had arrived before.
  void cancel(cancel_cause cause) noexcept;

  // Throws `cancelled` if the context is cancelled. Ends the program at the 1,000th throw.
  void throw_if_cancelled() {
    if (cancelled_) [[unlikely]]
      throw_cancelled();
  }
  [[noreturn]] void throw_cancelled();

  // The innermost waiter while the chain is suspended. Null while the chain runs and when it has
  // ended.
  waiter* suspended_on() const noexcept { return suspended_on_; }
  void suspend_on(waiter& w) noexcept { suspended_on_ = &w; }
  void go_on() noexcept { suspended_on_ = nullptr; }

  // Destroys the suspended coroutines of this context and of all contexts below it, innermost
  // first. Does not recurse.
  void destroy_frames() noexcept;

  // Sets the name and place for dumps and messages. The name is not copied.
  void set_origin(const char* name, std::source_location place) noexcept {
    name_ = name;
    place_ = place;
  }
  const char* name() const noexcept { return name_; }
  const std::source_location& place() const noexcept { return place_; }

 private:
  reactor* reactor_ = nullptr;
  waiter* suspended_on_ = nullptr;
  context* next_ = nullptr;   // in the list of cancel()
  context* below_ = nullptr;  // in the stack of destroy_frames(); its destructors may cancel()
  const char* name_ = "task";
  std::source_location place_{};
  unsigned throws_ = 0;
  bool cancelled_ = false;
  cancel_cause cause_ = cancel_cause::requested;
};

// Prints a place in the source as "file:line", the file name from its last "kedge/" on.
void print_place(description& line, const std::source_location& place) noexcept;

}  // namespace kedge
