// call(): sends a request and waits for its reply.
//
//     auto reply = co_await kedge::with_timeout(5s, mach::call(service, mach::message(add, 1, 2)));
//
// Waits for room in the service's queue first, like send(). The request carries a send-once right
// for the reply, which replaces the right that reply_to() has set.
//
// Gives result<received>. Errors: those of send(), mach::errc::peer_died among them, if the request
// was not sent; mach::errc::no_reply if the service destroys the reply right or dies with the
// request. with_timeout() adds a deadline.
//
// Every call has a reply port of its own, so a late reply cannot reach a newer call; the kernel
// destroys it. Cancellation loses the request if it was not sent yet, else the reply.
#pragma once

#include <mach/mach.h>

#include <optional>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/received.h"
#include "kedge/mach/reply_port.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class call_operation {
 public:
  call_operation(destination&& to, message&& request) noexcept
      : sending_(std::move(to), std::move(request)) {}
  call_operation(const call_operation&) = delete;
  call_operation& operator=(const call_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  bool await_cancel(cancel_cause) noexcept;
  result<received> await_resume();
  void describe(description& line) const noexcept;

 private:
  bool begin_reply_wait() noexcept;

  reply_port reply_port_;
  send_operation sending_;
  waiter* waiter_ = nullptr;
  bool sent_ = false;
  std::error_code error_;
};

class [[nodiscard]] call_awaitable {
 public:
  call_awaitable(destination&& to, message&& request) noexcept
      : to_(std::move(to)), request_(std::move(request)) {}
  call_operation operator co_await() && noexcept {
    return call_operation(std::move(to_), std::move(request_));
  }

 private:
  destination to_;
  message request_;
};

// `to` is borrowed: it must live until the co_await begins.
inline call_awaitable call(const send_right& to, message request) noexcept {
  return call_awaitable(destination(to), std::move(request));
}

}  // namespace kedge::mach
