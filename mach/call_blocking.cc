// Implements call_blocking() with a blocking_trap and the thread's reply port.
#include "kedge/mach/call_blocking.h"

#include <mach/notify.h>

#include <optional>
#include <system_error>

#include "kedge/mach/blocking_trap.h"
#include "kedge/mach/error.h"
#include "kedge/mach/thread_reply_port.h"

namespace kedge::mach {

class blocking_call {
 public:
  blocking_call(message&& request, clock::duration limit, std::size_t max)
      : request_(request ? std::move(request) : message(0)),
        port_(thread_reply_port::take()),
        trap_(port_.name(), limit, max) {}

  // Returns why the request was not sent.
  std::optional<send_failure> send(destination& to) {
    request_.set_reply(port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE);
    std::optional<std::error_code> error;
    while (!error && !to.transmit(request_, error, trap_)) {
      if (trap_.expired()) error = make_error_code(kedge::errc::timed_out);
    }
    if (!error) return std::nullopt;
    if (request_) {
      request_.set_reply(MACH_PORT_NULL, 0);
      give_back_unused();
    }
    return send_failure(*error, std::move(request_));
  }

  result<received, send_failure> receive() {
    received reply;
    const mach_msg_return_t code = trap_.receive(reply);
    if (code != MACH_MSG_SUCCESS) {
      port_.destroy();
      const bool is_late = code == MACH_RCV_TIMED_OUT;
      return unexpected(
          send_failure(is_late ? kedge::errc::timed_out : receive_error(code), message()));
    }
    thread_reply_port::give_back(std::move(port_));
    if (reply.id() == MACH_NOTIFY_SEND_ONCE && reply.from_kernel()) {
      return unexpected(send_failure(make_error_code(errc::no_reply), {}));
    }
    return reply;
  }

 private:
  // The kernel may have made the send-once right, and given it back with the request. Its release
  // has sent a notification to the port then.
  void give_back_unused() noexcept {
    received notification;
    std::size_t expected = 0;
    const mach_msg_return_t code = try_receive(port_.name(), expected, notification);
    if (code == MACH_MSG_SUCCESS || code == MACH_RCV_TIMED_OUT) {
      thread_reply_port::give_back(std::move(port_));
    }
  }

  message request_;
  receive_right port_;  // destroyed with the call, unless it is given back
  blocking_trap trap_;
};

result<received, send_failure> call_blocking(destination to, message request, clock::duration limit,
                                             std::size_t max) {
  blocking_call call(std::move(request), limit, max);
  if (std::optional<send_failure> failed = call.send(to)) return unexpected(std::move(*failed));
  return call.receive();
}

}  // namespace kedge::mach
