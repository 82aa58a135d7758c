// scope: the lists of children, what a child's end does to the others, limit and drain.
#include "kedge/runtime/scope.h"

#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/allocation_check.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

void scope::refuse_child() const {
  if (intake_ == intake::closed) {
    throw std::logic_error("kedge: spawn() into a scope that has ended");
  }
  throw std::system_error(make_error_code(errc::closed), "kedge: spawn() into a scope that drains");
}

scope::control& scope::need_control() {
  if (control_ == nullptr) {
    allocation_check::run();
    control_ = new control(*this);
    if (intake_ == intake::closed) control_->close();
  }
  return *control_;
}

void scope::close_control() noexcept {
  control_->close();
}

void scope::call_reaper() noexcept {
  context_.in_reactor().ready(reaper_);
}

void scope::set_limit(std::size_t most) {
  if (most == 0) refuse_argument(std::errc::invalid_argument, "kedge::scope: a limit of zero");
  if (intake_ == intake::closed) return;
  need_control().limit = most;
  if (intake_ == intake::open) intake_ = intake::limited;
  tend_later();
}

source_awaitable<scope::room_request> scope::room() {
  return source_awaitable(room_request(need_control().hold()));
}

void scope::drain_within(clock::duration grace) {
  if (intake_ == intake::closed) return;
  need_control().drain_until(clock::sum(context_.in_reactor().now(), grace));
  intake_ = intake::draining;
  control_->abandon();
}

void scope::control::drain_until(clock::time_point t) {
  if (t >= deadline) return;
  auto next = std::make_unique<grace>(of);
  reactor& r = of.context_.in_reactor();
  r.timers().arm(*next, t);
  r.announce_timer();  // a host's own code may drain
  end_of_grace_ = std::move(next);
  deadline = t;
}

void scope::control::tend() noexcept {
  while (!kept.empty() && running() < limit) {
    --kept_size;
    wake(kept.pop_front());
  }
  serve();
  if (background == 0 || background != of.size_ || background_is_cancelled) return;
  if (!of.is_body_over()) return;
  background_is_cancelled = true;
  of.cancel_present_children(cancel_cause::requested);
}

void scope::control::release(const waiter& child) noexcept {
  for (waiter* w = kept.front(); w != nullptr; w = kept.after(*w)) {
    if (w != &child) continue;
    w->unlink();
    --kept_size;
    return wake(*w);
  }
}

void scope::count_background() noexcept {
  ++control_->background;
  control_->background_is_cancelled = false;
  tend_later();
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
  c.next = nullptr;
  (last_failure_ != nullptr ? last_failure_->next : first_failure_) = &c;
  last_failure_ = &c;
  cancel_all(cancel_cause::failure);
  tend_later();
}

void scope::copy_failures(std::vector<std::exception_ptr>& all,
                          const std::exception_ptr& last) const noexcept {
  all.clear();
  try {
    for (const std::exception_ptr& failure : failures()) all.push_back(failure);
    if (last != nullptr) all.push_back(last);
  } catch (const std::bad_alloc&) {
    // The first one is thrown in any case.
  }
}

waiter* scope::child_done_slowly(child& c, outcome o) noexcept {
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
  if (scope_.control_ != nullptr) [[unlikely]]
    scope_.control_->tend();
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
  while (ended_ != nullptr) delete std::exchange(ended_, ended_->next);
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
  if (control_ != nullptr) std::exchange(control_, nullptr)->leave();
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
