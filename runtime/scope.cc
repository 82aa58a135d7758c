// scope: the lists of children, and what a child's end does to the others.
#include "kedge/runtime/scope.h"

#include <new>
#include <stdexcept>

#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

void scope::require_open() const {
  if (closed_) throw std::logic_error("kedge: spawn() into a scope that has ended");
}

void scope::link(leaf_child& c) noexcept {
  c.older = newest_leaf_;
  if (newest_leaf_ != nullptr) newest_leaf_->newer = &c;
  newest_leaf_ = &c;
}

void scope::unlink(leaf_child& c) noexcept {
  (c.newer != nullptr ? c.newer->older : newest_leaf_) = c.older;
  if (c.older != nullptr) c.older->newer = c.newer;
  c.newer = c.older = nullptr;
}

void scope::cancel_all(cancel_cause cause) noexcept {
  if (context_.cancelled()) return;
  cancelled_itself_ = true;
  context_.cancel(cause);
  cancel_leaves(cause);
}

void scope::cancel_leaves(cancel_cause cause) noexcept {
  leaf_child* next = nullptr;
  for (leaf_child* c = newest_leaf_; c != nullptr; c = next) {
    next = c->older;
    c->cancel(cause);
  }
}

void scope::cancel_present_children(cancel_cause cause) noexcept {
  for (context* c = context_.first_child(); c != nullptr; c = c->next_sibling()) c->cancel(cause);
  cancel_leaves(cause);
}

void scope::note_failure(child& c) noexcept {
  (last_failure_ != nullptr ? last_failure_->next : first_failure_) = &c;
  last_failure_ = &c;
  cancel_all(cancel_cause::failure);
}

void scope::append_failures(std::vector<std::exception_ptr>& all,
                            const std::exception_ptr& last) const noexcept {
  try {
    for (const std::exception_ptr& failure : failures()) all.push_back(failure);
    if (last != nullptr) all.push_back(last);
  } catch (const std::bad_alloc&) {
    // The first one is thrown in any case.
  }
}

waiter* scope::child_done(child& c, outcome o) noexcept {
  --size_;
  if (o == outcome::cancelled) any_child_cancelled_ = true;
  if (o == outcome::failed) {
    note_failure(c);
  } else {
    c.next = ended_;
    ended_ = &c;
  }
  if (size_ == 0) {
    if (waiter* const w = all_children_done()) return w;
  }
  if (ended_ != nullptr) context_.in_reactor().ready(reaper_);
  return nullptr;
}

std::coroutine_handle<> scope::reaper::proceed() noexcept {
  scope_.delete_ended();
  return std::noop_coroutine();
}

const waiter* scope::next_leaf(const waiter* previous) const noexcept {
  leaf_child* next = newest_leaf_;
  if (previous != nullptr) {
    auto& owner = static_cast<const branch_base*>(previous)->owner();
    next = static_cast<leaf_child&>(owner).older;
  }
  return next != nullptr ? &next->held_branch() : nullptr;
}

void scope::delete_ended() noexcept {
  while (ended_ != nullptr) std::exchange(ended_, ended_->next)->discard();
}

void scope::destroy_records() noexcept {
  // A destructor may spawn: then there is a child again.
  for (;;) {
    if (context* const c = context_.first_child()) {
      static_cast<child&>(c->holder()->owner()).discard();
    } else if (leaf_child* const leaf = newest_leaf_) {
      unlink(*leaf);
      leaf->discard();
    } else if (ended_ != nullptr) {
      delete_ended();
    } else if (first_failure_ != nullptr) {
      reset();
    } else {
      break;
    }
    context_.destroy();
  }
  size_ = 0;
}

// The failed children are deleted last: their destructors may spawn.
void scope::reset() noexcept {
  context_.revive();
  cancelled_itself_ = any_child_cancelled_ = false;
  child* failed = std::exchange(first_failure_, nullptr);
  last_failure_ = nullptr;
  while (failed != nullptr) std::exchange(failed, failed->next)->discard();
}

}  // namespace kedge
