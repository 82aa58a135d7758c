// receive(): waits for a message on a receive right or a port set (receive_right::receive(),
// port_set::receive()).
//
// In the steady state a message costs one mach_msg besides the loop's share of a wait, and one more
// mach_msg when the queue is found empty. Cancellation loses nothing: the message stays queued.
//
// A right without senders and messages is taken for one that nothing can wake: if nothing else is
// left, loop::run() throws a deadlock. A thread that makes send rights from the name later keeps
// one meanwhile, or a remote of the loop.
#pragma once

#include <mach/mach.h>

#include <system_error>
#include <utility>

#include "kedge/mach/port_set.h"
#include "kedge/mach/port_source.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class receive_operation final : private listener {
 public:
  // `s` is null for an empty right or set; the wait then gives errc::closed.
  explicit receive_operation(port_source_hold s) noexcept : source_(std::move(s)) {}
  receive_operation(const receive_operation&) = delete;
  receive_operation& operator=(const receive_operation&) = delete;
  ~receive_operation() { leave(); }

  bool await_ready() noexcept;
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  bool await_cancel(cancel_cause) noexcept;
  result<received> await_resume();
  void describe(description& line) const noexcept;

 private:
  void notify(const kevent64_s&) noexcept override;
  void closed(std::error_code why) noexcept override;
  bool can_wake() const noexcept override;
  bool take() noexcept;
  void leave() noexcept;

  port_source_hold source_;
  bool has_claim_ = false;
  waiter* waiter_ = nullptr;
  received message_;
  std::error_code error_;
};

// Holds the source: the right may be destroyed before the wait begins, which gives errc::closed.
class [[nodiscard]] receive_awaitable {
 public:
  explicit receive_awaitable(port_source* s) noexcept : source_(s) {}
  receive_operation operator co_await() && noexcept {
    return receive_operation(std::move(source_));
  }

 private:
  port_source_hold source_;
};

}  // namespace kedge::mach
