// call(): sends a request and waits for its reply.
//
//     auto reply = co_await kedge::with_timeout(5s, mach::call(service, mach::message(add, 1, 2)));
//
// Waits for room in the service's queue first, like send(). The request carries a send-once right
// for the reply, in place of what reply_to() set. Gives result<received>; errors: errc::peer_died
// before the request was sent, errc::no_reply when the service drops the right to reply or dies
// with the request, and those of send(). A deadline is with_timeout()'s.
//
// Every call replies to a port of its own, so a late reply cannot meet a newer call; it is
// destroyed. Cancellation loses the request if it was not sent yet, the reply otherwise.
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
  cancel_result await_cancel() noexcept;
  result<received> await_resume();
  void describe(description& line) const noexcept;

 private:
  bool sent() noexcept;

  reply_port answer_;
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

// `to` is lent, and has to live until the awaiting begins.
inline call_awaitable call(const send_right& to, message request) noexcept {
  return call_awaitable(destination(to), std::move(request));
}

}  // namespace kedge::mach
