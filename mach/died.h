// died(): waits until the port behind a send right has died. Completes at once if it is dead.
//
//     co_await mach::died(worker);
//
// Gives result<void>; an error means that the kernel refused to watch the name, or that the right
// belongs to another space than the current one (mach::errc::wrong_space). Any number of tasks may
// wait for the same death. The awaitable keeps a copy of the right until the wait has begun, and
// the loop keeps one from then on. Cancellation loses nothing. Throws std::bad_alloc,
// std::system_error if the kernel does not know the name, and std::logic_error if the current space
// is not the loop's.
#pragma once

#include <system_error>
#include <utility>

#include "kedge/mach/name_watches.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class died_operation final : private name_waiter {
 public:
  explicit died_operation(send_right right) noexcept
      : right_(std::move(right)), name_(right_.name()) {}
  died_operation(const died_operation&) = delete;
  died_operation& operator=(const died_operation&) = delete;
  ~died_operation() { leave(); }

  bool await_ready() const noexcept { return !right_; }
  bool await_suspend(waiter& w);
  bool await_cancel(cancel_cause) noexcept;
  result<void> await_resume();
  void describe(description& line) const noexcept;

 private:
  void on_notified(std::error_code error) noexcept override;

  send_right right_;  // until the wait begins, which holds the name by itself
  mach_port_name_t name_;
  waiter* waiter_ = nullptr;
  std::error_code error_;
};

class [[nodiscard]] died_awaitable {
 public:
  explicit died_awaitable(send_right right) noexcept : right_(std::move(right)) {}
  died_operation operator co_await() && noexcept { return died_operation(std::move(right_)); }

 private:
  send_right right_;
};

// An empty right counts as dead.
inline died_awaitable died(send_right right) noexcept {
  return died_awaitable(std::move(right));
}

}  // namespace kedge::mach
