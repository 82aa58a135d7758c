// died(): waits until the port behind a send right has died. Completes at once if it is dead.
//
//     co_await mach::died(worker);
//
// Gives result<void>; an error means that the kernel refused to watch the name. Any number of tasks
// may wait for the same death. The right is borrowed: it must live until the co_await begins, and
// may be destroyed during the wait. Cancellation loses nothing.
#pragma once

#include <mach/mach.h>

#include <system_error>

#include "kedge/mach/name_watches.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class died_operation final : private name_waiter {
 public:
  explicit died_operation(mach_port_name_t name) noexcept : name_(name) {}
  died_operation(const died_operation&) = delete;
  died_operation& operator=(const died_operation&) = delete;
  ~died_operation() { leave(); }

  bool await_ready() const noexcept { return name_ == MACH_PORT_NULL; }
  bool await_suspend(waiter& w);
  bool await_cancel(cancel_cause) noexcept;
  result<void> await_resume();
  void describe(description& line) const noexcept;

 private:
  void on_notified(std::error_code error) noexcept override;

  mach_port_name_t name_;
  waiter* waiter_ = nullptr;
  std::error_code error_;
};

class [[nodiscard]] died_awaitable {
 public:
  explicit died_awaitable(mach_port_name_t name) noexcept : name_(name) {}
  died_operation operator co_await() && noexcept { return died_operation(name_); }

 private:
  mach_port_name_t name_;
};

// An empty right counts as dead.
inline died_awaitable died(const send_right& right) noexcept {
  return died_awaitable(right.name());
}

}  // namespace kedge::mach
