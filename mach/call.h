// call(): sends a request and waits for its reply.
//
//     auto reply = co_await kedge::with_timeout(5s, mach::call(service, mach::message(add, 1, 2)));
//
// Waits for room in the service's queue first, like send(). The request carries a send-once right
// for the reply, which replaces the right that reply_to() has set.
//
// Gives result<received, send_failure>. Errors: those of send(), mach::errc::peer_died among them,
// if the request was not sent; message() then is the request, without a reply right. Once it was
// sent message() is empty: mach::errc::no_reply if the service destroys the reply right or dies
// with the request; message_too_large if the reply is larger than at_most() allows, header and
// descriptors included (64 KiB if it is not said); message_lost if it cannot be copied out.
// with_timeout() adds a deadline, and hands back a request that was not sent.
//
// Only sender() of the reply tells who has replied: a service may pass the reply right on, even to
// the kernel, so that from_kernel() is true. Such a reply can be taken for no_reply, and nothing
// worse.
//
// A call that waits for its reply is no deadlock, even if its service is on the same loop and never
// answers: a thread could receive the request, or reply to one that a task has received. Give calls
// a deadline.
//
// Every call has a reply port of its own, so a late reply cannot reach a newer call; the kernel
// destroys it. Cancellation loses the request if it was not sent yet, else the reply.
#pragma once

#include <mach/mach.h>

#include <cstddef>
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
  call_operation(destination&& to, message&& request, std::size_t max) noexcept
      : sending_(std::move(to), std::move(request)), max_(max) {}
  call_operation(const call_operation&) = delete;
  call_operation& operator=(const call_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  bool await_cancel(cancel_cause) noexcept;
  // For with_timeout(): a request that was not sent is handed back.
  send_failure await_expired(kedge::errc e) && noexcept;
  result<received, send_failure> await_resume();
  void describe(description& line) const noexcept;

 private:
  bool begin_reply_wait() noexcept;
  send_failure without_reply(send_failure&& failure) noexcept;

  reply_port reply_port_;
  send_operation sending_;
  waiter* waiter_ = nullptr;
  std::size_t max_;
  bool sent_ = false;
  std::optional<send_failure> failure_;
};

class [[nodiscard]] call_awaitable {
 public:
  call_awaitable(destination&& to, message&& request) noexcept
      : to_(std::move(to)), request_(std::move(request)) {}
  call_operation operator co_await() && noexcept {
    return call_operation(std::move(to_), std::move(request_), max_);
  }
  // Takes a reply of at most `bytes` bytes.
  call_awaitable at_most(std::size_t bytes) && noexcept {
    max_ = bytes;
    return std::move(*this);
  }

 private:
  destination to_;
  message request_;
  std::size_t max_ = default_max_message;
};

// `to` is borrowed: it must live until the co_await begins.
inline call_awaitable call(const send_right& to, message request) noexcept {
  return call_awaitable(destination(to), std::move(request));
}
inline call_awaitable call(send_right&& to, message request) noexcept {
  return call_awaitable(destination(std::move(to)), std::move(request));
}

}  // namespace kedge::mach
