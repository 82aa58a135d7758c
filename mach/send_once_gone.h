// send_once_gone(): waits until a send-once right to a port was destroyed unused, or was used.
//
//     const auto token = mach::receive_right::make();
//     (co_await mach::send(worker, mach::message(1, token.make_send_once()))).value();
//     const mach::received used = (co_await mach::send_once_gone(token)).value();
//     if (!used) ...                                 // the worker has dropped its right, or died
//
// Gives result<received>: an empty object if the kernel has sent MACH_NOTIFY_SEND_ONCE for the
// right, else the message for which the right was used. Errors and the rule of one task at a time
// are those of receive().telling_losses(): the wait takes the port's next message, and gives
// mach::errc::message_too_large or message_lost if that message cannot be received. The right is
// borrowed: if it is destroyed before the wait or during it, the wait gives errc::closed.
// Cancellation loses nothing: the message stays queued.
//
// Threads: the loop's thread only.
#pragma once

#include <mach/mach.h>
#include <mach/notify.h>

#include <utility>

#include "kedge/mach/notified_receive.h"
#include "kedge/mach/receive_right.h"

namespace kedge::mach {

class send_once_gone_operation final : public notified_receive {
 public:
  explicit send_once_gone_operation(receive_awaitable&& from) noexcept
      : notified_receive(std::move(from)) {}

  result<received> await_resume() {
    result<received> m = take();
    if (m && m->id() == MACH_NOTIFY_SEND_ONCE && m->from_kernel()) return received();
    return m;
  }
  void describe(description& line) const noexcept { line.print("the end of a send-once right"); }
};

class [[nodiscard]] send_once_gone_awaitable {
 public:
  explicit send_once_gone_awaitable(receive_awaitable&& from) noexcept : from_(std::move(from)) {}
  send_once_gone_operation operator co_await() && noexcept {
    return send_once_gone_operation(std::move(from_));
  }

 private:
  receive_awaitable from_;
};

inline send_once_gone_awaitable send_once_gone(const receive_right& right) noexcept {
  return send_once_gone_awaitable(right.receive());
}

}  // namespace kedge::mach
