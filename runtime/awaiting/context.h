// context: what a chain of coroutines runs in. Loop, cancellation, and where the chain stands now.
//
// Every chain (a root task, a child of a scope, a branch of a combinator) has one; a coroutine
// inherits that of its awaiter. Contexts form a tree by way of what they await: the waiter that a
// suspended context stands at knows the contexts of its branches. Loop's thread only.
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

  // Places the context below `from`, the context that it branches off, or null for a root. Below a
  // cancelled one it is cancelled from the beginning.
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

  // Cancels this context and all below it: marks each and asks what it waits for to end. Contexts
  // that are cancelled already are left alone. Runs no user code; never recurses, however deep the
  // tree. What was waiting goes on at its next turn, and throws `cancelled` unless its result had
  // arrived before.
  void cancel(cancel_cause cause) noexcept;

  // Throws `cancelled` if the context is cancelled; ends the program at the 1,000th time.
  void throw_if_cancelled() {
    if (cancelled_) [[unlikely]]
      throw_cancelled();
  }
  [[noreturn]] void throw_cancelled();

  // The innermost waiter while the chain is suspended; null while it runs, or has ended.
  waiter* standing_at() const noexcept { return standing_at_; }
  void stand_at(waiter& w) noexcept { standing_at_ = &w; }
  void go_on() noexcept { standing_at_ = nullptr; }

  // Destroys the suspended coroutines of this context and of all below it, innermost first, in a
  // loop rather than by recursion.
  void destroy_frames() noexcept;

  // Name and place for dumps and messages. The name is not copied.
  void set_origin(const char* name, std::source_location place) noexcept {
    name_ = name;
    place_ = place;
  }
  const char* name() const noexcept { return name_; }
  const std::source_location& place() const noexcept { return place_; }

 private:
  reactor* reactor_ = nullptr;
  waiter* standing_at_ = nullptr;
  context* next_ = nullptr;   // in the list of cancel()
  context* below_ = nullptr;  // in the stack of destroy_frames(); its destructors may cancel()
  const char* name_ = "task";
  std::source_location place_{};
  unsigned throws_ = 0;
  bool cancelled_ = false;
  cancel_cause cause_ = cancel_cause::requested;
};

// A place in the source as "file:line", the file from its last "kedge/" on.
void print_place(description& line, const std::source_location& place) noexcept;

}  // namespace kedge
