// scope: the list of children, and what a child's end does to the others.
#include "kedge/runtime/scope.h"

#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

void scope::cancel_all(cancel_cause cause) noexcept {
  if (cancelled_) return;
  cancelled_ = true;
  cause_ = cause;
  cancel_body(cause);
  for (child* c = newest_; c != nullptr; c = c->older) c->as_branch().cancel(cause);
}

void scope::expect_failure() {
  const std::size_t wanted = failures_.size() + size_ + 2;  // the body may fail too
  if (failures_.capacity() < wanted) failures_.reserve(wanted * 2);
}

void scope::note_failure(std::exception_ptr failure) noexcept {
  failures_.push_back(std::move(failure));
  cancel_all(cancel_cause::failure);
}

void scope::adopt(child& c) noexcept {
  c.older = newest_;
  if (newest_ != nullptr) newest_->newer = &c;
  newest_ = &c;
  ++size_;
  bind(c.as_branch());
  c.start();
}

void scope::bind(branch_base& b) const noexcept {
  b.bind(*reactor_, from_);
  if (cancelled_) b.cancel(cause_);
}

void scope::unlink(child& c) noexcept {
  (c.newer != nullptr ? c.newer->older : newest_) = c.older;
  if (c.older != nullptr) c.older->newer = c.newer;
  c.newer = c.older = nullptr;
}

void scope::child_done(child& c) noexcept {
  unlink(c);
  c.newer = ended_;
  ended_ = &c;
  if (c.as_branch().ended() == branch_base::outcome::cancelled) any_child_cancelled_ = true;
  if (c.as_branch().ended() == branch_base::outcome::failed) note_failure(c.failure());
  reactor_->ready(reaper_);
}

std::coroutine_handle<> scope::reaper::proceed() noexcept {
  scope_.reap();
  return std::noop_coroutine();
}

void scope::reap() noexcept {
  while (ended_ != nullptr) {
    child* const c = ended_;
    ended_ = c->newer;
    --size_;
    delete c;
  }
  if (size_ == 0) all_children_done();
}

void scope::destroy_children() noexcept {
  while (newest_ != nullptr) {
    child* const c = newest_;
    unlink(*c);
    delete c;
  }
  while (ended_ != nullptr) {
    child* const c = ended_;
    ended_ = c->newer;
    delete c;
  }
  size_ = 0;
}

context* scope::next_standing(const context* previous) const noexcept {
  const child* next = newest_;
  if (previous != nullptr) {
    // `previous` is the context of a child, and so the base of its branch.
    next = child::of(*previous).older;
  }
  for (; next != nullptr; next = next->older) {
    context& c = const_cast<child*>(next)->as_branch();
    if (c.suspended_on() != nullptr) return &c;
  }
  return nullptr;
}

void scope::reset() noexcept {
  failures_.clear();
  cancelled_ = any_child_cancelled_ = false;
}

}  // namespace kedge
