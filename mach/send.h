// send(): sends a message, waiting for room in the destination's queue. try_send(): without
// waiting.
//
//     auto sent = co_await mach::send(worker, mach::message(batch, header, text));
//     if (!sent) again.push_back(std::move(sent.error()).message());
//
// A send right is lent (the message takes a reference of its own), or moved in: then it is spent,
// also by a failure. A send-once right or a reply right is always spent. What is lent has to live
// until the awaiting begins, not longer.
//
// Success is not delivery: the kernel takes a message for a port that dies just then. Failures are
// values, and hand the message back whole: errc::peer_died; errc::queue_full (try_send); the
// kernel's own code (category "mach.msg") for a lack of resources or a message that is too large.
// Only with errc::rights_lost it is gone.
//
// Senders of one loop to one port wait first come, first served; none of them blocks the thread.
// Cancellation loses the message: it was not sent, and is destroyed.
#pragma once

#include <mach/mach.h>

#include <system_error>
#include <utility>

#include "kedge/mach/message.h"
#include "kedge/mach/notification_port.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

// A send that has failed: why, and the message.
class send_failure {
 public:
  send_failure(std::error_code code, kedge::mach::message&& m) noexcept
      : code_(code), message_(std::move(m)) {}
  std::error_code code() const noexcept { return code_; }
  // Empty with errc::rights_lost.
  kedge::mach::message& message() & noexcept { return message_; }
  kedge::mach::message&& message() && noexcept { return std::move(message_); }

 private:
  std::error_code code_;
  kedge::mach::message message_;
};

// Where a message goes, by which right, and how that is used.
class destination {
 public:
  explicit destination(const send_right& lent) noexcept : name_(lent.name()) {}
  explicit destination(send_right&& right) noexcept
      : destination(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND) {}
  explicit destination(send_once_right&& right) noexcept
      : destination(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE) {}
  explicit destination(reply_right&& right) noexcept
      : destination(right.name(), right.disposition()) {
    std::move(right).release();
  }

  mach_port_name_t name() const noexcept { return name_; }

  // One try; true if it has ended, with `error` set if it failed. False: the queue is full, and the
  // destination holds a reference of its own from now on.
  bool transmit(message& m, std::error_code& error) noexcept;
  // Makes sure that it holds a reference of its own, to wait with, and lends that from now on.
  // False if there is none to be had.
  bool hold() noexcept;

 private:
  destination(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept
      : held_(send_right::adopt(name)), name_(held_.name()), disposition_(disposition) {}

  send_right held_;
  mach_port_name_t name_;
  mach_msg_type_name_t disposition_ = MACH_MSG_TYPE_COPY_SEND;
};

class send_operation final : private name_waiter {
 public:
  send_operation(destination&& to, message&& m) noexcept
      : to_(std::move(to)), message_(std::move(m)) {}
  send_operation(const send_operation&) = delete;
  send_operation& operator=(const send_operation&) = delete;
  ~send_operation() { leave(); }

  // For a call: the receive right to which a send-once right is made by sending.
  void set_reply_port(mach_port_name_t name);

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  cancel_result await_cancel() noexcept;
  result<void, send_failure> await_resume();
  void describe(description& line) const noexcept;

 private:
  bool attempt() noexcept { return to_.transmit(message_, error_); }
  void told(std::error_code error) noexcept override;

  destination to_;
  message message_;
  std::error_code error_;
  waiter* waiter_ = nullptr;
};

class [[nodiscard]] send_awaitable {
 public:
  send_awaitable(destination&& to, message&& m) noexcept
      : to_(std::move(to)), message_(std::move(m)) {}
  send_operation operator co_await() && noexcept {
    return send_operation(std::move(to_), std::move(message_));
  }

 private:
  destination to_;
  message message_;
};

inline send_awaitable send(const send_right& to, message m) noexcept {
  return send_awaitable(destination(to), std::move(m));
}
inline send_awaitable send(send_right&& to, message m) noexcept {
  return send_awaitable(destination(std::move(to)), std::move(m));
}
inline send_awaitable send(send_once_right&& to, message m) noexcept {
  return send_awaitable(destination(std::move(to)), std::move(m));
}
inline send_awaitable send(reply_right&& to, message m) noexcept {
  return send_awaitable(destination(std::move(to)), std::move(m));
}

// The same, for code that does not wait: errc::queue_full if there is no room. It may overtake
// those who wait. Throws std::bad_alloc for an empty message only.
result<void, send_failure> try_send(destination to, message m);
inline result<void, send_failure> try_send(const send_right& to, message m) {
  return try_send(destination(to), std::move(m));
}

}  // namespace kedge::mach
