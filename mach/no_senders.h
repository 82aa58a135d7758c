// no_senders(): waits until nobody holds a send right to a port any more, messages on their way
// included. At once if there are none, also if none was ever made.
//
//     co_await mach::no_senders(connection);
//
// A right that is made (receive_right::make_send) while the kernel's word is on its way counts: the
// wait goes on. One task at a time, errc::already_awaited for a second. Gives result<void>;
// errc::closed if the receive right is destroyed or given away meanwhile. The right is lent, and
// has to live until the awaiting begins. Cancellation loses nothing.
#pragma once

#include <mach/mach.h>

#include <system_error>

#include "kedge/mach/port_source.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_port.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class no_senders_operation {
 public:
  explicit no_senders_operation(port_source* s) noexcept : source_(s) {}
  no_senders_operation(const no_senders_operation&) = delete;
  no_senders_operation& operator=(const no_senders_operation&) = delete;
  ~no_senders_operation() { withdraw_request(); }

  bool await_ready() noexcept;
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  cancel_result await_cancel() noexcept;
  result<void> await_resume();
  void describe(description& line) const noexcept;

 private:
  std::error_code request() noexcept;
  void withdraw_request() noexcept;
  bool told() noexcept;

  port_source_hold source_;
  reply_port answer_;
  waiter* waiter_ = nullptr;
  bool requested_ = false;
  std::error_code error_;
};

class [[nodiscard]] no_senders_awaitable {
 public:
  explicit no_senders_awaitable(const receive_right& right) noexcept : source_(right.source_) {}
  no_senders_operation operator co_await() && noexcept { return no_senders_operation(source_); }

 private:
  port_source* source_;
};

inline no_senders_awaitable no_senders(const receive_right& right) noexcept {
  return no_senders_awaitable(right);
}

}  // namespace kedge::mach
