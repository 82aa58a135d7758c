// with_scope(body): runs body(scope&), which returns an awaitable, and the children it spawns.
//
// Ends when the body and all children have ended, and gives the value of the body. See scope.h for
// an example.
//
// The first failure, of a child or of the body, cancels all the others. It is thrown when they have
// ended; scope::failures() has the later ones until then. A cancellation from outside cancels the
// body and all children, and with_scope throws `cancelled` if any of them was cancelled. After
// scope::cancel() with_scope throws `cancelled` only if the body gives a value and was cancelled
// before it had one. Cancellation loses what the body and the children declare.
//
// g++ 12 destroys a closure that is a temporary of a co_await expression twice. If the captures
// need a destructor, name the closure first (g++ 12 checks this at compile time), and pass
// std::ref(closure) if it cannot be copied.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/scope.h"

namespace kedge {

template <class Body>
class scope_operation final : private scope, private branch_owner {
  using body_awaitable = std::invoke_result_t<Body&, scope&>;
  static_assert(awaitable<body_awaitable>,
                "kedge: with_scope() takes a callable that gives an awaitable for a scope&");
  using value = awaited_t<body_awaitable>;
  using outcome = branch_base::outcome;

 public:
  explicit scope_operation(Body&& body) : closure_(std::move(body)) {}
  scope_operation(const scope_operation&) = delete;
  scope_operation& operator=(const scope_operation&) = delete;
  // Destroys the children first, since they refer to the captures of the body's closure.
  ~scope_operation() { destroy_children(); }

  bool await_ready() const noexcept { return false; }

  bool await_suspend(waiter& w) {
    waiter_ = &w;
    open(w.owner_context().in_reactor(), &w.owner_context());
    expect_failure();
    scope& handed_out = *this;
    try {
      body_.emplace(closure_(handed_out), static_cast<branch_owner&>(*this));
    } catch (...) {
      destroy_children();  // the closure may have spawned some
      throw;
    }
    bind(*body_);
    body_->start();
    return true;
  }

  // A task outside of the scope may have spawned into it since the last child ended.
  bool await_settle() noexcept { return size() == 0; }

  bool await_cancel(cancel_cause) noexcept {
    cancelled_from_outside_ = true;
    cancel_all(waiter_->owner_context().cause());
    return false;
  }

  bool was_cancelled() const noexcept {
    return failures().empty() && cancelled_from_outside_ &&
           (any_child_cancelled() || body_->ended() == outcome::cancelled);
  }
  bool await_failed() const noexcept {
    return !failures().empty() || (!std::is_void_v<value> && body_->ended() == outcome::cancelled);
  }

  value await_resume() {
    if (!failures().empty()) std::rethrow_exception(failures().front());
    if (was_cancelled()) throw kedge::cancelled(waiter_->owner_context().cause());
    if (body_->ended() == outcome::value) return body_->result();
    if constexpr (!std::is_void_v<value>) throw kedge::cancelled(cancel_cause::requested);
  }

  void describe(description& line) const noexcept { line.print("a scope of %zu children", size()); }

  context* next_branch(const context* previous) const noexcept {
    // The children, then the body, if the closure has returned it.
    auto* const body = const_cast<scope_operation*>(this)->body_branch();
    if (body != nullptr && previous == body) return nullptr;
    if (context* const c = next_standing(previous)) return c;
    return body != nullptr && body->suspended_on() != nullptr ? body : nullptr;
  }

 private:
  void branch_done(branch_base&) noexcept override {
    body_done_ = true;
    if (body_->ended() == outcome::failed) {
      try {
        static_cast<void>(body_->result());
      } catch (...) {
        note_failure(std::current_exception());
      }
    }
    if (size() == 0) in_reactor().ready(*waiter_);
  }
  void all_children_done() noexcept override {
    if (body_done_) in_reactor().ready(*waiter_);
  }
  void cancel_body(cancel_cause cause) noexcept override {
    if (body_) body_->cancel(cause);
  }

  branch<operation_of<body_awaitable>>* body_branch() noexcept { return body_ ? &*body_ : nullptr; }

  Body closure_;
  std::optional<branch<operation_of<body_awaitable>>> body_;
  waiter* waiter_ = nullptr;
  bool body_done_ = false;
  bool cancelled_from_outside_ = false;
};

template <class Body>
class [[nodiscard]] scope_awaitable {
 public:
  explicit scope_awaitable(const Body& body) : body_(body) {}
  explicit scope_awaitable(Body&& body) : body_(std::move(body)) {}
  scope_operation<Body> operator co_await() && { return scope_operation<Body>(std::move(body_)); }

 private:
  Body body_;
};

template <class Body>
scope_awaitable<std::decay_t<Body>> with_scope(Body&& body) {
  KEDGE_CHECK_CLOSURE(Body);
  return scope_awaitable<std::decay_t<Body>>(std::forward<Body>(body));
}

}  // namespace kedge
