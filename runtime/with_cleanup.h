// with_cleanup(body, cleanup, grace): awaits the body, then awaits cleanup(), however the body
// ended.
//
//     const auto leave = [&](const kedge::attempted<void>& end) -> kedge::task<> {
//       if (!end) co_await peer.abort();
//       co_await peer.say_goodbye();
//     };
//     co_await kedge::with_cleanup(exchange(peer), leave, 2s);
//
// The body is an awaitable, or a callable that gives one. cleanup is a callable that gives an
// awaitable. It hears how the body ended: with a value, a failure, or cancelled and why; it may
// also take no argument. It always starts, in a cancelled task too, and no cancellation from
// outside reaches it. It may use the caller's locals; those of the body are gone. When `grace` has
// passed since its start, it is cancelled itself, and awaited.
//
// Gives the value of the body. An exception of the body is kept and rethrown after the clean-up. If
// the body was cancelled, the caller ends as cancelled after the clean-up. An exception of cleanup
// is thrown unless the body has thrown one, which counts; a clean-up that has run out of its grace
// is no failure. If the loop is destroyed, only destructors run (rule 7 of docs/runtime.md).
//
// Threads: the loop's thread only. Awaiting it throws std::bad_alloc; without memory for the timer
// of its grace the clean-up starts, and is cancelled at its first wait. Cancellation loses what the
// body declares.
#pragma once

#include <chrono>
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "kedge/runtime/attempted.h"
#include "kedge/runtime/awaitable_block.h"
#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

template <awaitable Body, class Cleanup>
class with_cleanup_operation final : private timer, private branch_owner {
  using value = awaited_t<Body>;
  static constexpr bool hears = std::is_invocable_v<Cleanup&, const attempted<void>&>;
  static_assert(hears || std::is_invocable_v<Cleanup&>,
                "kedge: with_cleanup() calls cleanup(const attempted<void>&) or cleanup()");
  static auto call(Cleanup& cleanup, const attempted<void>& end) {
    if constexpr (hears) {
      return cleanup(end);
    } else {
      return cleanup();
    }
  }
  using cleaning = decltype(call(std::declval<Cleanup&>(), std::declval<attempted<void>&>()));
  static_assert(awaitable<cleaning>, "kedge: cleanup() gives an awaitable");

 public:
  static constexpr operation_kind kind = operation_kind::composite;

  with_cleanup_operation(Body&& body, Cleanup&& cleanup, clock::duration grace)
      : cleanup_(std::move(cleanup)), grace_(grace), body_(std::move(body), *this) {}
  with_cleanup_operation(const with_cleanup_operation&) = delete;
  with_cleanup_operation& operator=(const with_cleanup_operation&) = delete;
  ~with_cleanup_operation() = default;

  bool await_ready() const noexcept { return false; }

  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    cause_ = w.owner_context().cause();
    const std::coroutine_handle<> next = body_.start_directly(w.owner_context());
    waiter_ = &w;
    if (next) return next;
    return await_settle() ? nullptr : std::coroutine_handle<>(std::noop_coroutine());
  }
  // The body has ended, or the clean-up.
  bool await_settle() noexcept {
    if (body_.ended() == outcome::none) return false;
    if (!has_cleaned_) {
      has_cleaned_ = true;
      clean_up();
    }
    return !cleaning_ || cleaning_->ended() != outcome::none;
  }
  bool await_cancel(cancel_cause cause) noexcept {
    if (!has_cleaned_) {
      cause_ = cause;
      body_.cancel(cause);
    }
    return false;
  }
  bool was_cancelled() const noexcept {
    return body_.ended() == outcome::cancelled && !cleanup_failed();
  }
  std::exception_ptr await_failure() noexcept {
    if (body_.ended() == outcome::failed) return body_.failure();
    if (!cleanup_failed()) return nullptr;
    return own_failure_ != nullptr ? own_failure_ : cleaning_->failure();
  }
  value await_resume() {
    if (const std::exception_ptr failure = await_failure()) std::rethrow_exception(failure);
    return body_.result();
  }
  void describe(description& line) const noexcept {
    line.print(has_cleaned_ ? "a clean-up" : "a body with a clean-up");
  }

 private:
  bool cleanup_failed() const noexcept {
    return own_failure_ != nullptr || (cleaning_ && cleaning_->ended() == outcome::failed);
  }
  void clean_up() noexcept {
    waiter* const w = std::exchange(waiter_, nullptr);  // this turn is the waiter's
    try {
      end_.emplace(how_body_ended());
      cleaning_.emplace(call(cleanup_, *end_), static_cast<branch_owner&>(*this));
    } catch (...) {
      own_failure_ = std::current_exception();
      return;
    }
    context& above = w->owner_context();
    cleaning_->enter_shielded_context(above);
    limit(above.in_reactor());
    cleaning_->start_entered();
    waiter_ = w;
  }
  attempted<void> how_body_ended() noexcept {
    if (body_.ended() == outcome::failed) return attempted<void>(body_.failure());
    if (body_.ended() == outcome::cancelled) return attempted<void>(cause_);
    return attempted<void>(std::in_place, [] {});
  }
  // Without memory for the timer the grace is over at once.
  void limit(reactor& r) noexcept {
    deadline_ = clock::sum(r.now(), grace_);
    try {
      r.timers().arm(*this, deadline_);
    } catch (...) {
      own_failure_ = std::current_exception();
      expire();
    }
  }
  void expire() noexcept override { cleaning_->cancel(cancel_cause::deadline); }

  waiter* branch_done(branch_base&) noexcept override {
    disarm();
    return waiter_;
  }
  clock::time_point deadline() const noexcept override { return deadline_; }
  const char* branch_name() const noexcept override {
    return has_cleaned_ ? "clean-up" : "body of with_cleanup";
  }

  [[no_unique_address]] Cleanup cleanup_;
  clock::duration grace_;
  clock::time_point deadline_ = clock::time_point::max();  // of the clean-up
  waiter* waiter_ = nullptr;  // null while the body starts, and the clean-up
  cancel_cause cause_{};
  bool has_cleaned_ = false;
  std::exception_ptr own_failure_;  // not of the clean-up's branch
  branch<operation_of<Body>> body_;
  std::optional<attempted<void>> end_;
  std::optional<branch<operation_of<cleaning>, outer_branch>> cleaning_;
};

template <awaitable Body, class Cleanup>
class [[nodiscard]] with_cleanup_awaitable {
 public:
  template <class C>
  with_cleanup_awaitable(Body&& body, C&& cleanup, clock::duration grace)
      : body_(std::move(body)), cleanup_(std::forward<C>(cleanup)), grace_(grace) {}
  with_cleanup_operation<Body, Cleanup> operator co_await() && {
    return with_cleanup_operation<Body, Cleanup>(std::move(body_), std::move(cleanup_), grace_);
  }

 private:
  Body body_;
  [[no_unique_address]] Cleanup cleanup_;
  clock::duration grace_;
};

// `grace` is of any type of duration; one that is not positive cancels the clean-up at its first
// wait. Throws std::invalid_argument if it is not a number.
template <passed_awaitable Body, class Cleanup, class Rep, class Period>
with_cleanup_awaitable<Body, std::decay_t<Cleanup>> with_cleanup(
    Body&& body, Cleanup&& cleanup, std::chrono::duration<Rep, Period> grace) {
  KEDGE_CHECK_CLOSURE(Cleanup);
  return {std::move(body), std::forward<Cleanup>(cleanup), saturate(grace)};
}
template <awaitable_block Body, class Cleanup, class Rep, class Period>
auto with_cleanup(Body&& body, Cleanup&& cleanup, std::chrono::duration<Rep, Period> grace) {
  KEDGE_CHECK_CLOSURE(Body);
  return with_cleanup(call_block(std::forward<Body>(body)), std::forward<Cleanup>(cleanup), grace);
}

}  // namespace kedge
