// receive(): waits for a message on a receive right or a port set (receive_right::receive(),
// port_set::receive()).
//
// In the steady state a message costs one mach_msg besides the loop's share of a wait. (On Darwin
// one more mach_msg finds the queue empty.) Cancellation loses nothing: the message stays queued.
//
// The peers may be hostile, so a message is bounded: receive().at_most(bytes) sets another bound
// than default_max_message (64 KiB) for its header, descriptors and bytes. It does not bound what a
// message carries out-of-line, which is the kernel's until it is read: memory and arrays. A message
// that is larger is destroyed, and so is one that the kernel cannot copy out (a space without room
// for its rights). Neither ends the wait: it goes on with the next message, and losses() of the
// right or set counts what was dropped. With telling_losses() each of them ends its wait, with
// mach::errc::message_too_large or message_lost; the next receive() goes on behind it. What else
// ends a wait is the end of the port (errc::closed), another task that waits
// (errc::already_awaited), and a lack of memory of the own process.
//
// A message comes with its sender's audit token, its sequence number and the port's context;
// receive().with_trailer(trailer_elements::all) adds what else the kernel has.
//
// A right without senders and messages is taken for one that nothing can wake, and so is a set with
// no other members: if nothing else is left, loop::run() throws a deadlock. A thread that makes
// send rights from the name later keeps one until then, or a remote of the loop. A thread that
// inserts members later keeps a remote.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/port_registration.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/port_source.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/try_receive.h"
#include "kedge/mach/wanted_message.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class receive_operation final : private port_receiver {
 public:
  static constexpr bool calls_no_user_code = true;

  // `s` is null for an empty right or set; the wait then gives errc::closed.
  explicit receive_operation(port_source_hold s, const wanted_message& wanted = {},
                             bool tells_losses = false) noexcept
      : port_receiver(std::move(s)), wanted_(wanted), tells_losses_(tells_losses) {}
  receive_operation(const receive_operation&) = delete;
  receive_operation& operator=(const receive_operation&) = delete;
  ~receive_operation() { leave(); }

  bool await_ready() noexcept {
    if (source_ && source_->name() != MACH_PORT_NULL) [[likely]]
      return false;
    error_ = source_ ? make_error_code(kedge::errc::closed) : make_error_code(errc::empty_right);
    return true;
  }
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  bool await_cancel(cancel_cause) noexcept;
  result<received> await_resume() {
    if (error_) [[unlikely]]
      return unexpected(*error_);
    return std::move(message_);
  }
  void describe(description& line) const noexcept;

 private:
  [[gnu::always_inline]] inline bool take(port_registration& at) noexcept;
  [[gnu::noinline]] bool begin_slowly(waiter& w, reactor& r, port_registration* at);
  bool end(mach_msg_return_t code, port_registration& at) noexcept;
  // Ends the wait: another operation may receive. Only an operation with the claim waits.
  void leave() noexcept {
    if (!has_claim_) return;
    has_claim_ = false;
    stop();
    source_->give_up();
  }

  wanted_message wanted_;
  bool tells_losses_;
  bool has_claim_ = false;
  received message_;
};

// Holds the source: the right may be destroyed before the wait begins, which gives errc::closed.
class [[nodiscard]] receive_awaitable {
 public:
  explicit receive_awaitable(port_source* s) noexcept : source_(s) {}
  receive_operation operator co_await() && noexcept {
    return receive_operation(std::move(source_), wanted_, tells_losses_);
  }
  // Takes messages of at most `bytes` bytes, and drops larger ones. At least 24, a header.
  receive_awaitable at_most(std::size_t bytes) && noexcept {
    wanted_.max = bytes;
    return std::move(*this);
  }
  // Takes the voucher too (voucher.h), which is dropped otherwise.
  receive_awaitable with_voucher() && noexcept {
    wanted_.voucher = true;
    return std::move(*this);
  }
  // Takes more of the trailer than what received always has.
  receive_awaitable with_trailer(trailer_elements elements) && noexcept {
    wanted_.trailer = elements;
    return std::move(*this);
  }
  // Ends with an error when a message was dropped.
  receive_awaitable telling_losses() && noexcept {
    tells_losses_ = true;
    return std::move(*this);
  }

 private:
  port_source_hold source_;
  wanted_message wanted_;
  bool tells_losses_ = false;
};

inline receive_awaitable receive_right::receive() const noexcept {
  return receive_awaitable(source_);
}
inline receive_awaitable port_set::receive() const noexcept {
  return receive_awaitable(source_);
}

}  // namespace kedge::mach
