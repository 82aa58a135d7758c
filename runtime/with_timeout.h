// with_timeout(d, x): awaits x for at most d; gives a result with the value of x.
//
//     const auto n = co_await kedge::with_timeout(5s, in.read_some(buffer));
//     if (!n && n.error() == kedge::errc::timed_out) ...
//
// When the deadline has passed x is cancelled *and awaited*. If x was cancelled the error is
// errc::timed_out; a value with which x still ends is delivered, however late. An exception of x is
// thrown. A cancellation from outside throws `cancelled`. If x gives a result<T>, with_timeout
// gives a result<T> too, with the time-out among its errors. Awaiting it throws std::bad_alloc.
// Cancellation loses what x declares.
#pragma once

#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge {

// The result of with_timeout for an awaitable that gives T.
template <class T>
struct timed {
  using type = result<T>;
};
template <class T>
struct timed<result<T>> {
  using type = result<T>;
};

template <awaitable A>
class with_timeout_operation final : private timer, private branch_owner {
  using value = awaited_t<A>;
  using outcome = branch_base::outcome;

 public:
  with_timeout_operation(clock::time_point deadline, A&& a)
      : deadline_(deadline), branch_(std::move(a), *this) {}
  with_timeout_operation(const with_timeout_operation&) = delete;
  with_timeout_operation& operator=(const with_timeout_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    w.owner_context().in_reactor().timers().arm(*this, deadline_);
    waiter_ = &w;
    starting_ = true;
    branch_.bind(w.owner_context().in_reactor(), &w.owner_context());
    branch_.start();
    starting_ = false;
    return branch_.ended() == outcome::none;
  }
  bool await_cancel(cancel_cause) noexcept {
    branch_.cancel(waiter_->owner_context().cause());
    return false;
  }
  bool was_cancelled() const noexcept { return branch_.ended() == outcome::cancelled && !expired_; }
  bool await_failed() const noexcept { return branch_.ended() == outcome::failed; }

  typename timed<value>::type await_resume() {
    if (branch_.ended() == outcome::cancelled) {
      if (expired_) return unexpected(errc::timed_out);
      throw cancelled(waiter_->owner_context().cause());
    }
    if constexpr (std::is_void_v<value>) {
      branch_.result();
      return {};
    } else {
      return branch_.result();
    }
  }
  void describe(description& line) const noexcept {
    const auto left = std::chrono::duration<double>(clock::until(deadline_));
    line.print("a branch, for %.3f s at most", left.count());
  }
  context* next_branch(const context* previous) const noexcept {
    auto& b = const_cast<branch<operation_of<A>>&>(branch_);
    return previous == nullptr && b.suspended_on() != nullptr ? &b : nullptr;
  }

 private:
  void expire() noexcept override {
    if (branch_.cancelled()) return;  // a cancellation from outside came first
    expired_ = true;
    branch_.cancel(cancel_cause::deadline);
  }
  void branch_done(branch_base&) noexcept override {
    disarm();
    if (!starting_) wake(*waiter_);
  }

  clock::time_point deadline_;
  waiter* waiter_ = nullptr;
  bool starting_ = false;
  bool expired_ = false;
  branch<operation_of<A>> branch_;
};

template <awaitable A>
class [[nodiscard]] with_timeout_awaitable {
 public:
  with_timeout_awaitable(clock::duration d, A&& a) : duration_(d), awaitable_(std::move(a)) {}
  with_timeout_operation<A> operator co_await() && {
    return with_timeout_operation<A>(clock::after(duration_), std::move(awaitable_));
  }

 private:
  clock::duration duration_;
  A awaitable_;
};

// The deadline is `d` after the co_await. A `d` that is not positive still starts x. A `d` beyond
// the end of time never ends x.
template <awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
with_timeout_awaitable<A> with_timeout(clock::duration d, A&& a) {
  return with_timeout_awaitable<A>(d, std::move(a));
}

}  // namespace kedge
