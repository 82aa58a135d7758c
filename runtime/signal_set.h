// signal_set: awaits signals of the process.
//
//     kedge::signal_set stop(loop, {SIGINT, SIGTERM});
//     kedge::signal_event s = (co_await stop.next()).value();
//
// While the set lives, its signals have no other effect: an empty handler (SA_RESTART) takes them.
// It is no SIG_IGN, which children of fork and exec would inherit. As with any handler, a signal
// ends waits that SA_RESTART does not restart with EINTR: poll, select, sleeping. The last set of
// the process that names a signal restores the former disposition, unless the program has installed
// another one since then. Deliveries are counted from the constructor on, so none between two calls
// of next() is lost. Every set with a signal receives each delivery, on one loop or several.
//
// Threads: the loop's thread only. A set may outlive its loop: waits then end with errc::loop_gone.
// In the child of a fork they do too, and the destructor restores the child's dispositions.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/result.h"

namespace kedge {

struct signal_event {
  int number;      // SIGINT, SIGTERM ...
  unsigned count;  // deliveries since this set last reported the signal, at least 1
};

class signal_set {
  // Shared by the set and its operations, so that the set can be destroyed during a wait.
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
    bool await_cancel(cancel_cause) noexcept;
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
    explicit next_awaitable(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    next_operation operator co_await() && noexcept { return next_operation(std::move(state_)); }

   private:
    std::shared_ptr<state> state_;
  };

  // `r` is the loop. Registers in the kernel before it returns. Throws std::system_error (EINVAL)
  // for a signal that does not exist or cannot be caught; no disposition has changed then. Naming a
  // signal twice has no effect.
  signal_set(reactor& r, std::span<const int> signals);
  signal_set(reactor& r, std::initializer_list<int> signals)
      : signal_set(r, std::span<const int>(signals.begin(), signals.size())) {}
  signal_set(const signal_set&) = delete;
  signal_set& operator=(const signal_set&) = delete;
  // Ends a wait in progress, and the awaitables that have not been awaited, with errc::closed.
  ~signal_set();

  // Waits for a delivery of any of the signals. If several are pending, reports the one that comes
  // first in the constructor's list. One task may wait at a time; a second one gets
  // errc::already_awaited. Cancellation loses nothing: a delivery is taken when the task has its
  // turn.
  next_awaitable next() noexcept { return next_awaitable(state_); }

 private:
  class watch;
  std::shared_ptr<state> state_;
};

}  // namespace kedge
