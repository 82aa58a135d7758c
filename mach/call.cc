#include "kedge/mach/call.h"

#include <mach/notify.h>

namespace kedge::mach {

bool call_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  answer_.open(w);
  sending_.set_reply_port(answer_.port());
  return sending_.await_suspend(w) || sent();
}

// The request has left, or failed to. True if there is a reply to wait for.
bool call_operation::sent() noexcept {
  const result<void, send_failure> outcome = sending_.await_resume();
  if (!outcome) {
    error_ = outcome.error().code();
    return false;
  }
  sent_ = true;
  return answer_.start(*waiter_);
}

bool call_operation::await_settle() noexcept {
  if (sent_) return answer_.settle();
  return sending_.await_settle() && !sent();
}

cancel_result call_operation::await_cancel() noexcept {
  if (!sent_) return sending_.await_cancel();
  answer_.cancel();
  return cancel_result::withdrawn;
}

result<received> call_operation::await_resume() {
  if (error_) return unexpected(error_);
  result<received> reply = answer_.take();
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
