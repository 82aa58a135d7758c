// no_senders(): waits until no send right to a port exists any more, in a space or in a queued
// message. Completes at once if there is none, even if none was ever made.
//
//     co_await mach::no_senders(connection);
//
// A send right that is made (receive_right::make_send) after the kernel has sent its notification,
// but before the task has received it, counts: the wait continues.
//
// A right that travels in a message which is queued at the port itself counts too: the wait ends
// when such messages have been received.
//
// Gives result<void>: mach::errc::empty_right for an empty right, errc::already_awaited if another
// task waits already, errc::closed if the receive right is destroyed or moved away during the wait.
// The right is borrowed: it must live until the co_await begins. Cancellation loses nothing.
//
// The kernel has one such request per port. One that another library has registered is displaced
// during the wait, and registered again at its end. If another library displaces this one, it is
// made again.
#pragma once

#include <mach/mach.h>

#include <system_error>
#include <utility>

#include "kedge/mach/port_source.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_port.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class no_senders_operation {
 public:
  explicit no_senders_operation(port_source_hold s) noexcept : source_(std::move(s)) {}
  no_senders_operation(const no_senders_operation&) = delete;
  no_senders_operation& operator=(const no_senders_operation&) = delete;
  ~no_senders_operation() { withdraw_request(); }

  bool await_ready() noexcept;
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  bool await_cancel(cancel_cause) noexcept;
  result<void> await_resume();
  void describe(description& line) const noexcept;

 private:
  std::error_code request() noexcept;
  void withdraw_request() noexcept;
  void restore_displaced() noexcept;
  bool take_notification() noexcept;
  bool must_go_on(const received& m) noexcept;

  port_source_hold source_;
  reply_port notify_port_;
  waiter* waiter_ = nullptr;
  bool requested_ = false;
  send_once_right displaced_;  // of another library, while the request is armed
  std::error_code error_;
};

class [[nodiscard]] no_senders_awaitable {
 public:
  explicit no_senders_awaitable(const receive_right& right) noexcept : source_(right.source_) {}
  no_senders_operation operator co_await() && noexcept {
    return no_senders_operation(std::move(source_));
  }

 private:
  port_source_hold source_;
};

inline no_senders_awaitable no_senders(const receive_right& right) noexcept {
  return no_senders_awaitable(right);
}

}  // namespace kedge::mach
