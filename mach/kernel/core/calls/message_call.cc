// The course of a mach_msg call: sent, then received; parked, resumed, cancelled (Darwin:
// mach_msg_overwrite_trap).
#include "kedge/mach/kernel/core/calls/message_call.h"

#include <utility>

namespace kedge::mach::kernel {

status message_call::begin() {
  if (state_.option & MACH_SEND_MSG) {
    const status sent = send();
    if (sent == status::parked || reply_.result != MACH_MSG_SUCCESS) return sent;
  }
  if (state_.option & MACH_RCV_MSG) return receive();
  return done(MACH_MSG_SUCCESS);
}

status message_call::park(waiters& queue) {
  state_.progress = pending_call::state::parked;
  queue.push_back(state_);
  return status::parked;
}

status message_call::resume() {
  caller_.remove(state_);
  // The thread that completed the call did so under the lock of this object, and called wake() only
  // after it had released the lock.
  state_.waits_on = {};
  state_.progress = pending_call::state::idle;
  kmsg* message = std::exchange(state_.message, nullptr);

  if (state_.sending()) {
    // The message is still here: the destination has died, or the task.
    if (message) {
      cleanup_.destroy_later(message);
      cleanup_.reap();
    }
    if (state_.outcome != MACH_MSG_SUCCESS) return done(state_.outcome);
    if (state_.option & MACH_RCV_MSG) return receive();
    return done(MACH_MSG_SUCCESS);
  }
  if (state_.outcome == MACH_RCV_TOO_LARGE) {
    return done(report_needed_size(state_.needed_size, state_.identity));
  }
  if (!message) return done(state_.outcome);
  return finish_receive(message);
}

bool message_call::cancel(give_up why) {
  if (!withdraw(state_)) return false;
  caller_.remove(state_);
  state_.waits_on = {};

  const bool late = why == give_up::timed_out;
  if (state_.sending()) {
    send_failed(std::exchange(state_.message, nullptr),
                late ? MACH_SEND_TIMED_OUT : MACH_SEND_INTERRUPTED);
  } else {
    done(late ? MACH_RCV_TIMED_OUT : MACH_RCV_INTERRUPTED);
  }
  return true;
}

}  // namespace kedge::mach::kernel
