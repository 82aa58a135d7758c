// Implements call(): a send_operation, then the wait on a reply_port.
#include "kedge/mach/call.h"

#include <mach/notify.h>

namespace kedge::mach {

bool call_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  reply_port_.open(w);
  sending_.set_reply_port(reply_port_.name());
  return sending_.await_suspend(w) || begin_reply_wait();
}

// Called when the send is over. Returns true if there is a reply to wait for, false if the send has
// failed or the reply has arrived already.
bool call_operation::begin_reply_wait() noexcept {
  const result<void, send_failure> outcome = sending_.await_resume();
  if (!outcome) {
    error_ = outcome.error().code();
    return false;
  }
  sent_ = true;
  return reply_port_.start(*waiter_);
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

result<received> call_operation::await_resume() {
  if (error_) return unexpected(error_);
  result<received> reply = reply_port_.take();
  if (reply && reply->id() == MACH_NOTIFY_SEND_ONCE && reply->from_kernel()) {
    return unexpected(make_error_code(errc::no_reply));
  }
  return reply;
}

void call_operation::describe(description& line) const noexcept {
  if (sent_) {
    line.print("a reply");
  } else {
    sending_.describe(line);
  }
}

}  // namespace kedge::mach
