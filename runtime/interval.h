// interval: ticks with a period.
//
//     kedge::interval ticks(loop, 100ms);
//     while (auto t = co_await ticks.next()) sample();
//
// The first tick is due a period after the interval was made. What follows a tick that is taken
// late, since the task was busy or the loop was, is a matter of the policy:
//
//     catch_up   the ticks that were missed come at once, one after the other: none is lost
//     skip       the ticks that were missed are dropped; the next one is due at a whole number of
//                periods since the first one (the default)
//     delay      the next one is due a period after the late one was taken
//
// Time is the loop's, as for sleep_for: it does not step, and stands still while the machine
// sleeps.
//
// Threads: the loop's thread only. Destroying the interval ends a wait in progress, and the
// awaitables that have not been awaited, with errc::closed.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/timer.h"
#include "kedge/runtime/result.h"

namespace kedge {

class reactor;

enum class missed_ticks : unsigned char { catch_up, skip, delay };

struct interval_tick {
  clock::time_point due;
  std::uint64_t missed;  // how many ticks were due after this one and will not come
};

class interval {
  struct state;

 public:
  class next_operation final : private timer {
   public:
    explicit next_operation(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    next_operation(const next_operation&) = delete;
    next_operation& operator=(const next_operation&) = delete;
    ~next_operation() { leave(); }

    bool await_ready() noexcept;
    bool await_suspend(waiter& w);
    bool await_settle() noexcept;
    bool await_cancel(cancel_cause) noexcept;
    result<interval_tick> await_resume();
    void describe(description& line) const noexcept;

   private:
    friend class interval;
    void expire() noexcept override;
    void leave() noexcept;

    std::shared_ptr<state> state_;
    waiter* waiter_ = nullptr;
    interval_tick tick_{};
    std::error_code error_;
  };

  class [[nodiscard]] next_awaitable {
   public:
    explicit next_awaitable(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    next_operation operator co_await() && noexcept { return next_operation(std::move(state_)); }

   private:
    std::shared_ptr<state> state_;
  };

  // `r` is the loop. Throws std::invalid_argument if the period is not positive or not a number,
  // and std::bad_alloc.
  template <class Rep, class Period>
  interval(reactor& r, std::chrono::duration<Rep, Period> period,
           missed_ticks policy = missed_ticks::skip)
      : interval(r, saturate(period), policy) {}
  interval(reactor& r, clock::duration period, missed_ticks policy = missed_ticks::skip);
  interval(const interval&) = delete;
  interval& operator=(const interval&) = delete;
  ~interval();

  // Waits for the next tick; one that is due already comes at once. One task may wait at a time; a
  // second one gets errc::already_awaited. Awaiting it throws std::bad_alloc. Cancellation loses no
  // tick: one is taken when the task has its turn.
  next_awaitable next() noexcept { return next_awaitable(state_); }

 private:
  std::shared_ptr<state> state_;
};

}  // namespace kedge
