// with_timeout(d, x): awaits x for at most d; gives a result with the value of x.
// with_deadline(t, x): the same, until the time t of the loop.
//
//     const auto n = co_await kedge::with_timeout(5s, in.read_some(buffer));
//     if (!n && n.error() == kedge::errc::timed_out) ...
//
//     const auto sent = co_await kedge::with_deadline(t, [&]() -> kedge::task<> {
//       co_await connect(peer);
//       co_await send(peer);
//     });
//
// When the deadline has passed x is cancelled *and awaited*. A value with which x still ends is
// delivered, however late; an exception of x is thrown. If x was cancelled the error is
// errc::timed_out. Nested, the nearest deadline wins, and each reports only its own.
//
// If x gives a result<T, E>, with_timeout gives a result<T, E> too, with the time-out among its
// errors: the E is made by await_expired() of x's operation where it has one (an unsent message is
// handed back), else from a std::error_code.
//
// Awaiting it throws std::bad_alloc. Cancellation loses what x declares.
#pragma once

#include <type_traits>
#include <utility>

#include "kedge/runtime/awaitable_block.h"
#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/single_branch.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge {

// The result of with_timeout for an awaitable that gives T.
template <class T>
struct timed {
  using type = result<T>;
};
template <class T, class E>
struct timed<result<T, E>> {
  using type = result<T, E>;
};

// A deadline that is known when the wait begins: a time, or a duration from then.
class wait_limit {
 public:
  explicit wait_limit(clock::duration d) noexcept : time_(d), is_relative_(true) {}
  explicit wait_limit(clock::time_point t) noexcept : time_(t), is_relative_(false) {}
  clock::time_point begin(const reactor& r) const noexcept {
    return is_relative_ ? clock::sum(r.now(), time_.time_since_epoch()) : time_;
  }

 private:
  clock::time_point time_;  // if it is relative, as the time since the epoch
  bool is_relative_;
};

template <awaitable A>
class with_timeout_operation final : private timer, public single_branch<A> {
  using value = awaited_t<A>;
  using timed_value = typename timed<value>::type;
  using operation = operation_of<A>;
  using error = typename timed_value::error_type;
  static constexpr bool tells_expiry =
      requires(operation&& op) { std::move(op).await_expired(errc::timed_out); };
  static_assert(tells_expiry || std::is_constructible_v<error, std::error_code>,
                "kedge: with_timeout() cannot make the error of this result: give its operation an "
                "await_expired(errc) (see kedge/runtime/awaiting/operation.h)");

 public:
  with_timeout_operation(wait_limit limit, A&& a) : single_branch<A>(std::move(a)), limit_(limit) {}

  std::coroutine_handle<> await_suspend(waiter& w) {
    context& above = w.owner_context();
    cancelled_first_ = above.cancelled();
    std::coroutine_handle<> next;
    if constexpr (needs_context<operation>) {
      arm_timer(above.in_reactor());  // first: nothing may throw once a coroutine has been entered
      next = this->start(above);
    } else {
      next = this->start(above);
      if (next) arm_timer_or_withdraw(above.in_reactor());  // last: what has ended needs no timer
    }
    return this->begun(w, next);
  }
  bool await_cancel(cancel_cause cause) noexcept {
    cancelled_first_ = !expired_;
    this->held.cancel(cause);
    return false;
  }
  bool was_cancelled() const noexcept {
    return this->held.ended() == outcome::cancelled && (cancelled_first_ || !expired_);
  }
  std::exception_ptr await_failure() noexcept { return this->failure(); }

  timed_value await_resume() {
    if (this->held.ended() == outcome::cancelled) return unexpected(expired_error());
    if constexpr (std::is_void_v<value>) {
      this->held.result();
      return {};
    } else {
      return this->held.result();
    }
  }
  void describe(description& line) const noexcept {
    this->held.op().describe(line);
    if (this->awaiter() == nullptr) return;
    const clock::time_point now = this->awaiter()->owner_context().in_reactor().now();
    const clock::duration left = clock::between(now, deadline_);
    line.print(", for %.3f s at most", std::chrono::duration<double>(left).count());
  }

 private:
  void arm_timer(reactor& r) {
    deadline_ = limit_.begin(r);
    r.timers().arm(*this, deadline_);
  }

  void arm_timer_or_withdraw(reactor& r) {
    try {
      arm_timer(r);
    } catch (...) {
      this->held.cancel(cancel_cause::requested);
      throw;
    }
  }

  error expired_error() {
    if constexpr (tells_expiry) {
      return std::move(this->held.op()).await_expired(errc::timed_out);
    } else {
      return error(make_error_code(errc::timed_out));
    }
  }

  void expire() noexcept override {
    expired_ = true;
    this->held.cancel(cancel_cause::deadline);
  }
  waiter* branch_done(branch_base&) noexcept override {
    disarm();
    return this->awaiter();
  }
  const char* branch_name() const noexcept override { return "with_timeout"; }
  clock::time_point deadline() const noexcept override { return deadline_; }

  bool expired_ = false;
  bool cancelled_first_ = false;  // a cancellation from outside came before the deadline
  wait_limit limit_;
  clock::time_point deadline_{};
};

template <awaitable A>
class [[nodiscard]] with_timeout_awaitable {
 public:
  with_timeout_awaitable(wait_limit limit, A&& a) : limit_(limit), awaitable_(std::move(a)) {}
  with_timeout_operation<A> operator co_await() && {
    return with_timeout_operation<A>(limit_, std::move(awaitable_));
  }

 private:
  wait_limit limit_;
  A awaitable_;
};

// The deadline is `d` after the co_await. A `d` that is not positive still starts x. A `d` beyond
// the end of time never ends x. Throws std::invalid_argument if `d` is not a number.
template <class Rep, class Period, passed_awaitable A>
with_timeout_awaitable<A> with_timeout(std::chrono::duration<Rep, Period> d, A&& a) {
  return with_timeout_awaitable<A>(wait_limit(saturate(d)), std::move(a));
}

template <passed_awaitable A>
with_timeout_awaitable<A> with_deadline(clock::time_point t, A&& a) {
  return with_timeout_awaitable<A>(wait_limit(t), std::move(a));
}

// The same over a block: a callable that gives an awaitable. The block is kept, so it may be a
// lambda with captures. Throws std::bad_alloc.
template <class Rep, class Period, awaitable_block Block>
auto with_timeout(std::chrono::duration<Rep, Period> d, Block&& block) {
  KEDGE_CHECK_CLOSURE(Block);
  return with_timeout(d, call_block(std::forward<Block>(block)));
}
template <awaitable_block Block>
auto with_deadline(clock::time_point t, Block&& block) {
  KEDGE_CHECK_CLOSURE(Block);
  return with_deadline(t, call_block(std::forward<Block>(block)));
}

}  // namespace kedge
