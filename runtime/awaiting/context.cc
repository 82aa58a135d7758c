// context and frame: cancelling and destroying a tree of coroutines, without recursion.
#include "kedge/runtime/awaiting/context.h"

#include <cstdio>
#include <cstring>
#include <exception>

#include "kedge/runtime/awaiting/frame.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {
namespace {

// A task that swallows `cancelled` this often is not going to stop.
constexpr unsigned most_throws = 1000;

[[noreturn]] void stop(const context& c, const char* what) noexcept {
  description place;
  print_place(place, c.place());
  std::fprintf(stderr, "kedge: %s (%s) %s\n", c.name(), place.text(), what);
  std::terminate();
}

}  // namespace

void print_place(description& line, const std::source_location& place) noexcept {
  if (place.line() == 0) {
    line.print("somewhere");
    return;
  }
  const char* file = place.file_name();
  for (const char* next = file; (next = std::strstr(next, "kedge/")) != nullptr; ++next) {
    file = next;
  }
  line.print("%s:%u", file, static_cast<unsigned>(place.line()));
}

void context::cancel(cancel_cause cause) noexcept {
  // The outermost call works through a list of contexts, which hangs off the reactor. A withdraw()
  // that cancels the branches of a combinator only adds to this list.
  if (cancelled_) return;
  cancelled_ = true;
  cause_ = cause;
  context*& list = reactor_->cancelling();
  next_ = nullptr;
  if (list != nullptr) {
    next_ = list->next_;
    list->next_ = this;
    return;
  }
  for (list = this; list != nullptr; list = list->next_) {
    if (list->suspended_on_ != nullptr) list->suspended_on_->withdraw();
  }
}

void context::throw_cancelled() {
  if (++throws_ >= most_throws) stop(*this, "goes on although it was cancelled 1000 times");
  throw kedge::cancelled(cause_);
}

void context::destroy_frames() noexcept {
  context* stack = this;  // linked by below_; the top is the context being destroyed
  below_ = nullptr;
  const context* done = nullptr;  // the branch of the top that was destroyed last
  while (stack != nullptr) {
    waiter* const innermost = stack->suspended_on_;
    if (innermost != nullptr) {
      if (context* const branch = innermost->next_branch(done)) {
        branch->below_ = stack;
        stack = branch;
        done = nullptr;
        continue;
      }
    }
    context& top = *stack;
    stack = top.below_;
    done = &top;
    top.suspended_on_ = nullptr;
    frame* f = innermost != nullptr ? innermost->awaiting_frame() : nullptr;
    while (f != nullptr) {
      frame* const outer = f->continuation_->awaiting_frame();
      *f->owner_ = nullptr;
      f->handle_.destroy();
      f = outer;
    }
  }
}

std::coroutine_handle<> frame::finish() noexcept {
  state_ = state::done;
  reactor& r = context_->in_reactor();
  if (r.spend_budget()) return continuation_->proceed();
  context_->suspend_on(*continuation_);
  r.ready(*continuation_);
  return std::noop_coroutine();
}

void frame::destroy() noexcept {
  if (state_ != state::started) {
    handle_.destroy();
  } else if (context_->suspended_on() != nullptr) {
    context_->destroy_frames();
  } else {
    stop(*context_, "was destroyed by itself, while it was running");
  }
}

}  // namespace kedge
