// context and frame: cancelling and destroying a tree of coroutines, without recursion.
#include "kedge/runtime/awaiting/context.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/awaiting/frame.h"
#include "kedge/runtime/base/process_state.h"

namespace kedge {
namespace {

constexpr unsigned most_reports = 1000;

// How deep destructors of unstarted tasks may nest before the rest waits for them.
constexpr unsigned deepest_drop = 32;

struct drops {
  unsigned depth = 0;
  frame* later = nullptr;  // linked by frame::next_drop
};
constinit thread_local drops dropping;

constinit thread_local unsigned unwinding = 0;

const base::process_state dropping_of_process([] { return static_cast<void*>(&dropping); },
                                              sizeof dropping);
const base::process_state unwinding_of_process([] { return static_cast<void*>(&unwinding); },
                                               sizeof unwinding);

}  // namespace

unsigned unwinding_chains() noexcept {
  return unwinding;
}

void stop(const context& c, const char* what) noexcept {
  description place;
  print_place(place, c.place());
  const char* const kind = c.holder() != nullptr ? c.holder()->owner().branch_name() : "scope";
  if (const char* const name = c.name()) {
    std::fprintf(stderr, "kedge: %s \"%s\" (%s) %s\n", kind, name, place.text(), what);
  } else {
    std::fprintf(stderr, "kedge: %s (%s) %s\n", kind, place.text(), what);
  }
  std::terminate();
}

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

// The walk of the tree of `top` in pre-order: returns the context after `c`, or null after the
// last. Skips the contexts below `c` unless `below`.
context* context::after_in_tree(context& c, const context& top, bool below) noexcept {
  if (below && c.first_child_ != nullptr) return c.first_child_;
  for (context* at = &c; at != &top; at = at->parent_) {
    if (at->next_ != nullptr) return at->next_;
  }
  return nullptr;
}

void context::cancel(cancel_cause cause) noexcept {
  if (cancelled_) return;
  if (first_child_ != nullptr) return cancel_tree(cause);
  cancelled_ = true;
  cause_ = cause;
  withdraw_wait();
}

void context::cancel_tree(cancel_cause cause) noexcept {
  // Marks all first. A withdrawal may cancel contexts below its own, and finds them marked, so it
  // does not walk again.
  for (context* c = this; c != nullptr;) {
    const bool reached = !c->cancelled_ && (!c->shielded_ || c == this);
    if (reached) {
      c->cancelled_ = c->withdrawing_ = true;
      c->cause_ = cause;
    }
    c = after_in_tree(*c, *this, reached);
  }
  for (context* c = this; c != nullptr;) {
    const bool marked = std::exchange(c->withdrawing_, false);
    if (marked) c->withdraw_wait();
    c = after_in_tree(*c, *this, marked);
  }
}

// Withdraws the wait that the chain is suspended on.
void context::withdraw_wait() noexcept {
  if (suspended_on_ == nullptr) return;
  if (!suspended_on_->queued()) tell(happening::withdrawn, *this, suspended_on_);
  suspended_on_->withdraw(cause_);
}

// Destroys the chain's suspended coroutines.
void context::destroy_frames() noexcept {
  waiter* w = std::exchange(suspended_on_, nullptr);
  if (w == nullptr) return;
  // No other waiter of the chain's coroutines can be queued.
  if (w->awaiting_coroutine()) w->unlink();
  ++unwinding;
  while (frame* const f = w->awaiting_frame()) {
    w = f->continuation_;
    *f->owning = nullptr;
    f->handle().destroy();
  }
  --unwinding;
  tell(happening::destroyed, *this);
}

std::coroutine_handle<> context::end_cancelled() noexcept {
  destroy_frames();
  return holder_->chain_destroyed();
}

void context::destroy_tree() noexcept {
  // Destructors may spawn below `c`. New contexts come before those that have been destroyed.
  const auto first_left = [](context* c) { return c != nullptr && !c->destroyed_ ? c : nullptr; };
  for (context* c = this;;) {
    while (context* const below = first_left(c->first_child_)) c = below;
    c->destroy_frames();
    if (first_left(c->first_child_) != nullptr) continue;
    c->destroyed_ = true;
    if (c == this) return;
    context* const beside = first_left(c->next_);
    c = beside != nullptr ? beside : c->parent_;
  }
}

clock::time_point context::deadline() const noexcept {
  clock::time_point earliest = clock::time_point::max();
  for (const context* c = this; c != nullptr; c = c->parent_) {
    if (c->holder_ != nullptr) earliest = std::min(earliest, c->holder_->owner().deadline());
    if (c->shielded_) break;
  }
  return earliest;
}

const char* context::name() const noexcept {
  return holder_ != nullptr ? holder_->given_name() : nullptr;
}

const context& context::of_task() const noexcept {
  for (const context* c = this; c != nullptr; c = c->parent_) {
    if (c->place_.line() != 0) return *c;
  }
  return *this;
}

void context::count_report() noexcept {
  if (++reports_ >= most_reports) stop(*this, "goes on although it was cancelled 1000 times");
}

void frame::destroy_now() noexcept {
  if (state_ == state::started) {
    if (context_->suspended_on() == nullptr) {
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ == 12
      stop(*context_,
           "was destroyed by itself, while it was running; g++ 12 does that to a function that "
           "awaits in a condition and has no variable (docs/runtime.md, rule 9 for authors)");
#else
      stop(*context_, "was destroyed by itself, while it was running");
#endif
    }
    context_->destroy();
    return;
  }
  // A task that was not started may hold another one among its arguments, and that one the next.
  if (dropping.depth == deepest_drop) {
    next_drop = std::exchange(dropping.later, this);
    return;
  }
  ++dropping.depth;
  handle().destroy();
  if (dropping.depth == 1) {
    while (frame* const f = dropping.later) {
      dropping.later = f->next_drop;
      f->handle().destroy();
    }
  }
  --dropping.depth;
}

}  // namespace kedge
