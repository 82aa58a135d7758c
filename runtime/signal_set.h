// signal_set: signals, awaited.
//
//     kedge::signal_set stop(loop, {SIGINT, SIGTERM});
//     kedge::signal_event s = (co_await stop.next()).value();
//
// While the set lives, its signals do nothing else: they are ignored by the process (SIGCHLD keeps
// its default), and the old disposition is restored with the last set of this process that names
// it. Deliveries are counted from the construction on, so one between two calls of next() is not
// lost. Sets with the same signal, on one loop or several, all hear of it. Loop's thread only.
#pragma once

#include <initializer_list>
#include <memory>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/result.h"

namespace kedge {

struct signal_event {
  int number;
  unsigned count;  // deliveries since it was last reported
};

class signal_set {
  // What the set and its operations share, so that the set can be destroyed under any of them.
  struct state;

 public:
  class next_operation {
   public:
    explicit next_operation(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    next_operation(const next_operation&) = delete;
    next_operation& operator=(const next_operation&) = delete;
    ~next_operation() { leave(); }

    bool await_ready() noexcept;
    bool await_suspend(waiter& w) noexcept;
    bool await_settle() noexcept;
    cancel_result await_cancel() noexcept;
    result<signal_event> await_resume();
    void describe(description& line) const noexcept;

   private:
    friend struct state;
    void leave() noexcept;
    std::shared_ptr<state> state_;
    waiter* waiter_ = nullptr;
    signal_event event_{0, 0};
    std::error_code error_;
  };

  class [[nodiscard]] next_awaitable {
   public:
    explicit next_awaitable(signal_set& s) noexcept : set_(&s) {}
    next_operation operator co_await() && noexcept { return next_operation(set_->state_); }

   private:
    signal_set* set_;
  };

  // Throws std::system_error for a signal that does not exist or cannot be caught (EINVAL).
  signal_set(reactor& r, std::initializer_list<int> signals);
  signal_set(const signal_set&) = delete;
  signal_set& operator=(const signal_set&) = delete;
  // Wakes whoever waits with errc::closed.
  ~signal_set();

  // The next delivery of any of the signals; in the order of the constructor's list if several have
  // come. One task at a time: errc::already_awaited. Cancellation loses nothing: a delivery is
  // taken when the task goes on.
  next_awaitable next() noexcept { return next_awaitable(*this); }

 private:
  class watch;
  std::shared_ptr<state> state_;
};

}  // namespace kedge
