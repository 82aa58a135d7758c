// Implements call(): a send_operation, then the wait on a reply_port.
#include "kedge/mach/call.h"

#include <mach/notify.h>

namespace kedge::mach {

bool call_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  reply_port_.open(w);
  sending_.set_reply_port(reply_port_.name());
  return (!sending_.await_ready() && sending_.await_suspend(w)) || begin_reply_wait();
}

// Called when the send is over. Returns true if there is a reply to wait for, false if the send has
// failed or the reply has arrived already.
bool call_operation::begin_reply_wait() noexcept {
  result<void, send_failure> outcome = sending_.await_resume();
  if (!outcome) {
    failure_.emplace(without_reply(std::move(outcome).error()));
    return false;
  }
  sent_ = true;
  return reply_port_.start(*waiter_, max_);
}

// Takes the right to the reply port out of a request that was not sent. The port can be used again,
// unless the request was lost together with the right.
send_failure call_operation::without_reply(send_failure&& failure) noexcept {
  if (failure.message()) {
    failure.message().set_reply(MACH_PORT_NULL, 0);
    reply_port_.give_back();
  }
  return std::move(failure);
}

send_failure call_operation::await_expired(kedge::errc e) && noexcept {
  if (sent_) return send_failure(make_error_code(e), {});
  return without_reply(std::move(sending_).await_expired(e));
}

bool call_operation::await_settle() noexcept {
  if (sent_) return reply_port_.settle();
  return sending_.await_settle() && !begin_reply_wait();
}

bool call_operation::await_cancel(cancel_cause cause) noexcept {
  if (!sent_) return sending_.await_cancel(cause);
  reply_port_.cancel(cause);
  return true;
}

result<received, send_failure> call_operation::await_resume() {
  if (failure_) return unexpected(std::move(*failure_));
  result<received> reply = reply_port_.take();
  if (!reply) return unexpected(send_failure(reply.error(), {}));
  if (reply->id() == MACH_NOTIFY_SEND_ONCE && reply->from_kernel()) {
    return unexpected(send_failure(make_error_code(errc::no_reply), {}));
  }
  return std::move(*reply);
}

void call_operation::describe(description& line) const noexcept {
  if (sent_) {
    line.print("a reply");
  } else {
    sending_.describe(line);
  }
}

}  // namespace kedge::mach
