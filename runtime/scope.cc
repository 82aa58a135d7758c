// scope: the lists of children, what a child's end does to the others, limit, drain, background.
#include "kedge/runtime/scope.h"

#include <algorithm>
#include <limits>
#include <new>
#include <stdexcept>
#include <system_error>

#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/allocation_check.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

// What most scopes do without.
struct scope::control final : timer {
  explicit control(scope& s) : of(s), room(std::in_place, s) {}
  void expire() noexcept override { of.cancel_all(cancel_cause::deadline); }

  scope& of;
  source_owner<room_state> room;
  std::size_t limit = std::numeric_limits<std::size_t>::max();
  child* first_kept = nullptr;  // the children that wait for room
  child* last_kept = nullptr;
  std::size_t kept = 0;
  std::size_t background = 0;  // children that have not ended
  bool background_cancelled = false;
  clock::time_point deadline = clock::time_point::max();  // of drain()
};

void scope::refuse_child() const {
  if (intake_ == intake::draining) {
    throw std::system_error(make_error_code(errc::closed),
                            "kedge: spawn() into a scope that drains");
  }
  throw std::logic_error("kedge: spawn() into a scope that has ended");
}

scope::control& scope::need_control() {
  if (control_ == nullptr) {
    allocation_check::run();
    control_ = new control(*this);
    if (intake_ == intake::closed) close_control();
  }
  return *control_;
}

// The operation of an ended scope may stay for long.
void scope::close_control() noexcept {
  control_->disarm();
  control_->room->abandon();
}

// Requires a control.
bool scope::has_room() const noexcept {
  const control& c = *control_;
  return c.first_kept == nullptr && size_ - c.background < c.limit;
}

void scope::set_limit(std::size_t most) {
  if (most == 0) refuse_argument(std::errc::invalid_argument, "kedge::scope: set_limit");
  if (intake_ == intake::closed) return;
  need_control().limit = most;
  context_.in_reactor().ready(reaper_);
}

source_awaitable<scope::room_request> scope::room() {
  return source_awaitable(room_request(hold_open()));
}

source_hold<scope::room_state> scope::hold_open() {
  return need_control().room.hold();
}

void scope::drain_within(clock::duration grace) {
  if (intake_ == intake::closed) return;
  control& c = need_control();
  reactor& r = context_.in_reactor();
  const clock::time_point deadline = clock::sum(r.now(), grace);
  if (deadline < c.deadline) {
    c.disarm();
    try {
      r.timers().arm(c, deadline);
    } catch (...) {
      if (intake_ == intake::draining) c.expire();  // the former deadline is lost
      throw;
    }
    c.deadline = deadline;
  }
  intake_ = intake::draining;
  c.room->abandon();
}

clock::time_point scope::drain_deadline() const noexcept {
  return control_ == nullptr ? clock::time_point::max() : control_->deadline;
}

bool scope::keep_for_later(child& c) noexcept {
  control& own = *control_;
  own.background_cancelled = false;
  // `c` is among the children already.
  if (own.first_kept == nullptr && size_ - own.background <= own.limit) return false;
  (own.last_kept != nullptr ? own.last_kept->next : own.first_kept) = &c;
  own.last_kept = &c;
  ++own.kept;
  return true;
}

// Starts what there is room for now. What ends at once makes room for another turn, so that a turn
// is bounded by the limit.
void scope::start_kept() noexcept {
  control& own = *control_;
  const std::size_t running = size_ - own.background - own.kept;
  for (std::size_t room = own.limit - std::min(running, own.limit);
       room != 0 && own.first_kept != nullptr; --room) {
    child& c = *own.first_kept;
    own.first_kept = std::exchange(c.next, nullptr);
    if (own.first_kept == nullptr) own.last_kept = nullptr;
    --own.kept;
    c.launch();
  }
  own.room->serve();
}

bool scope::drop_kept(child& c) noexcept {
  control& own = *control_;
  child* previous = nullptr;
  child* at = own.first_kept;
  for (; at != nullptr && at != &c; at = at->next) previous = at;
  if (at == nullptr) return false;
  (previous != nullptr ? previous->next : own.first_kept) = std::exchange(c.next, nullptr);
  if (own.last_kept == &c) own.last_kept = previous;
  --own.kept;
  if (waiter* const w = child_done(c, outcome::value)) wake(*w);
  return true;
}

void scope::add_background(child& c) noexcept {
  ++control_->background;
  control_->background_cancelled = false;
  c.launch();
  cancel_background();
}

void scope::cancel_background() noexcept {
  control& own = *control_;
  if (own.background == 0 || own.background != size_ || own.background_cancelled) return;
  if (!is_body_over()) return;
  own.background_cancelled = true;
  cancel_present_children(cancel_cause::requested);
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
  if (control_ != nullptr) [[unlikely]] {
    cancel_background();
    context_.in_reactor().ready(reaper_);
  }
  if (ended_ != nullptr) context_.in_reactor().ready(reaper_);
  return nullptr;
}

waiter* scope::background_done(child& c, outcome o) noexcept {
  --control_->background;
  return child_done(c, o == outcome::cancelled ? outcome::value : o);
}

std::coroutine_handle<> scope::reaper::proceed() noexcept {
  scope_.delete_ended();
  if (scope_.control_ != nullptr) [[unlikely]]
    scope_.start_kept();
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
    } else if (control_ != nullptr && control_->first_kept != nullptr) {
      control_->last_kept = nullptr;
      child* kept = std::exchange(control_->first_kept, nullptr);
      while (kept != nullptr) std::exchange(kept, kept->next)->discard();
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
  delete std::exchange(control_, nullptr);
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
