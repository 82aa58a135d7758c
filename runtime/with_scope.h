// with_scope(body), with_scope(body, failures): runs body(scope&), which returns an awaitable, and
// the children it spawns.
//
// Ends when the body and all children have ended, and gives the value of the body. See scope.h for
// an example.
//
// The first failure, of a child or of the body, cancels all the others. It is thrown when they have
// ended. scope::failures() has the later ones until then, and `failures` afterwards:
//
//     std::vector<std::exception_ptr> failures;
//     try {
//       co_await kedge::with_scope(body, failures);
//     } catch (...) {
//       for (const std::exception_ptr& each : failures) log(each);   // the one thrown comes first
//     }
//
// with_scope sets `failures`, which must live until it has ended, to the failures in the order in
// which they happened; to the first ones if there is no memory for all.
//
// A cancellation from outside cancels the body and all children; if it ended any of them, the
// caller ends as cancelled. scope::cancel() and the end of drain()'s grace do not end the caller. A
// body that gives a value and that one of these has ended makes with_scope throw std::system_error
// (errc::cancelled).
// Cancellation loses what the body and the children declare.
//
// g++ 12 destroys a closure that is a temporary of a co_await expression twice. If the captures
// need a destructor, name the closure first (g++ 12 checks this at compile time), and pass
// std::ref(closure) if it cannot be copied.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/scope.h"

namespace kedge {

// Where with_scope(body) leaves its failures.
struct nowhere {};

// Failures is a reference to where the failures are left.
template <class Body, class Failures>
class scope_operation final : private scope {
  using body_awaitable = std::invoke_result_t<Body&, scope&>;
  static_assert(awaitable<body_awaitable>,
                "kedge: with_scope() takes a callable that gives an awaitable for a scope&");
  using value = awaited_t<body_awaitable>;
  using operation = operation_of<body_awaitable>;

 public:
  static constexpr operation_kind kind = operation_kind::composite;

  scope_operation(Body&& body, Failures failures)
      : closure_(std::move(body)), failures_(failures) {}
  scope_operation(const scope_operation&) = delete;
  scope_operation& operator=(const scope_operation&) = delete;
  // Destroys all before the captures of the closure, to which they refer.
  ~scope_operation() {
    destroy_tasks();
    body_.reset();  // before the records are looked for: a composite has contexts in the scope's
    destroy_children();
  }

  bool await_ready() const noexcept { return false; }

  // Enters the body at once.
  std::coroutine_handle<> await_suspend(waiter& w) {
    waiter_ = &w;
    open(w.owner_context());
    cancelled_from_outside_ = own_context().cancelled();
    make_body();
    const std::coroutine_handle<> next = body_->held.start_directly(own_context());
    is_started_ = true;
    if (next) return next;
    if (!await_settle()) return std::noop_coroutine();
    return nullptr;
  }

  // A task outside of the scope may have spawned into it since the last child ended.
  bool await_settle() noexcept {
    if (!is_over()) return false;
    leave_failures();
    close();
    return true;
  }

  // The cancellation reaches all below through the context; that of a composite around this
  // operation does so here.
  bool await_cancel(cancel_cause cause) noexcept {
    if (!cancelled_itself()) cancelled_from_outside_ = true;
    own_context().cancel(cause);
    cancel_leaves(cause);
    return false;
  }

  bool was_cancelled() const noexcept {
    return !any_failed() && cancelled_from_outside_ &&
           (any_child_cancelled() || body_->held.ended() == outcome::cancelled);
  }
  std::exception_ptr await_failure() noexcept {
    if (any_failed()) return first_failure();
    if (lost_value()) return std::make_exception_ptr(ended_by_itself());
    return nullptr;
  }

  value await_resume() {
    if (any_failed()) std::rethrow_exception(first_failure());
    if (lost_value()) throw ended_by_itself();
    if constexpr (std::is_void_v<value>) {
      if (body_->held.ended() == outcome::value) body_->held.result();
    } else {
      return body_->held.result();
    }
  }

  void describe(description& line) const noexcept {
    line.print("a scope of %zu children%s", size(), body_done_ ? "" : " and their body");
    if (kept() != 0) line.print(", %zu of which wait for room", kept());
  }

 private:
  class body_record final : public child {
   public:
    body_record(scope_operation& s, Body& closure, scope& handed_out)
        : child(s), held(closure(handed_out), *this) {}
    branch_base& held_branch() noexcept override { return held; }
    void discard() noexcept override { static_cast<scope_operation&>(owner()).body_.reset(); }
    branch<operation, body_branch> held;

   private:
    waiter* branch_done(branch_base&) noexcept override {
      return static_cast<scope_operation&>(owner()).body_done();
    }
    const char* branch_name() const noexcept override { return "body of with_scope"; }
    clock::time_point deadline() const noexcept override {
      return static_cast<scope_operation&>(owner()).drain_deadline();
    }
    const waiter* next_leaf(const waiter* previous) const noexcept override {
      return static_cast<scope_operation&>(owner()).scope::next_leaf(previous);
    }
  };

  void make_body() {
    scope& handed_out = *this;
    try {
      body_.emplace(*this, closure_, handed_out);
    } catch (...) {
      leave_failures(std::current_exception());
      destroy_children();  // the closure may have spawned some
      close();
      own_context().leave();
      throw;
    }
  }
  waiter* body_done() noexcept {
    body_done_ = true;
    if (body_->held.ended() == outcome::failed) note_failure(*body_);
    waiter* const w = all_children_done();
    if (w == nullptr) tend_later();
    return w;
  }
  waiter* all_children_done() noexcept override {
    return is_started_ && is_over() ? waiter_ : nullptr;
  }
  bool is_body_over() const noexcept override { return body_done_; }
  bool is_over() const noexcept { return body_done_ && size() == 0; }

  void leave_failures(const std::exception_ptr& of_closure = nullptr) noexcept {
    if constexpr (!std::is_same_v<Failures, nowhere>) copy_failures(failures_, of_closure);
  }

  // The body was to give a value, and scope::cancel() has ended it before.
  bool lost_value() const noexcept {
    return !std::is_void_v<value> && body_->held.ended() == outcome::cancelled;
  }
  static std::system_error ended_by_itself() {
    return std::system_error(make_error_code(errc::cancelled), "kedge::with_scope");
  }

  Body closure_;
  [[no_unique_address]] Failures failures_;
  std::optional<body_record> body_;
  waiter* waiter_ = nullptr;
  bool is_started_ = false;
  bool body_done_ = false;
  bool cancelled_from_outside_ = false;
};

template <class Body, class Failures>
class [[nodiscard]] scope_awaitable {
 public:
  template <class B>
  scope_awaitable(B&& body, Failures failures)
      : body_(std::forward<B>(body)), failures_(failures) {}
  scope_operation<Body, Failures> operator co_await() && {
    return scope_operation<Body, Failures>(std::move(body_), failures_);
  }

 private:
  Body body_;
  [[no_unique_address]] Failures failures_;
};

template <class Body>
scope_awaitable<std::decay_t<Body>, nowhere> with_scope(Body&& body) {
  KEDGE_CHECK_CLOSURE(Body);
  return {std::forward<Body>(body), nowhere()};
}
template <class Body>
scope_awaitable<std::decay_t<Body>, std::vector<std::exception_ptr>&> with_scope(
    Body&& body, std::vector<std::exception_ptr>& failures) {
  KEDGE_CHECK_CLOSURE(Body);
  return {std::forward<Body>(body), failures};
}

}  // namespace kedge
