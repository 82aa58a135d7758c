#include "kedge/mach/no_senders.h"

#include <mach/notify.h>

#include <cstdint>
#include <new>

#include "kedge/mach/error.h"
#include "kedge/mach/send_once_right.h"

namespace kedge::mach {
namespace {

// Where the notification has the port's make-send count: after the NDR record.
constexpr std::size_t count_offset = sizeof(NDR_record_t);

}  // namespace

bool no_senders_operation::await_ready() noexcept {
  if (!source_ || source_->name() == MACH_PORT_NULL) {
    error_ = kedge::errc::closed;
  } else if (source_->senders_awaited) {
    error_ = kedge::errc::already_awaited;
  }
  return static_cast<bool>(error_);
}

bool no_senders_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  answer_.open(w);
  error_ = request();
  return !error_ && (answer_.start(w) || !told());
}

// Asks to be told of there being no senders, with the count of rights made that is known here: an
// older word is told from a new one by it (ipc_port_nsrequest).
std::error_code no_senders_operation::request() noexcept {
  mach_port_t previous = MACH_PORT_NULL;
  const kern_return_t code = mach_port_request_notification(
      mach_task_self(), source_->name(), MACH_NOTIFY_NO_SENDERS, source_->made_send_rights,
      answer_.port(), MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  if (code != KERN_SUCCESS) return kern_error(code);
  static_cast<void>(send_once_right::adopt(previous));
  requested_ = source_->senders_awaited = true;
  return {};
}

void no_senders_operation::withdraw_request() noexcept {
  if (!requested_) return;
  requested_ = source_->senders_awaited = false;
  if (source_->name() == MACH_PORT_NULL) return;
  mach_port_t previous = MACH_PORT_NULL;
  mach_port_request_notification(mach_task_self(), source_->name(), MACH_NOTIFY_NO_SENDERS, 0,
                                 MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  static_cast<void>(send_once_right::adopt(previous));
}

bool no_senders_operation::await_settle() noexcept {
  return answer_.settle() && told();
}

// The answer is there. False: it is out of date, and the wait goes on.
bool no_senders_operation::told() noexcept {
  requested_ = source_->senders_awaited = false;
  for (;;) {
    const result<received> answer = answer_.take();
    if (!answer) {
      error_ = answer.error();
      return true;
    }
    if (answer->id() != MACH_NOTIFY_NO_SENDERS || !answer->from_kernel() ||
        source_->name() == MACH_PORT_NULL) {
      error_ = kedge::errc::closed;
      return true;
    }
    const auto made = answer->read<mach_port_mscount_t>(count_offset).value_or(0);
    if (static_cast<std::int32_t>(made - source_->made_send_rights) >= 0) return true;
    try {
      answer_.open(*waiter_);
      error_ = request();
    } catch (const std::system_error& e) {
      error_ = e.code();
    } catch (const std::bad_alloc&) {
      error_ = std::make_error_code(std::errc::not_enough_memory);
    }
    if (error_) return true;
    if (answer_.start(*waiter_)) return false;
    requested_ = source_->senders_awaited = false;
  }
}

cancel_result no_senders_operation::await_cancel() noexcept {
  withdraw_request();
  answer_.cancel();
  return cancel_result::withdrawn;
}

result<void> no_senders_operation::await_resume() {
  if (error_) return unexpected(error_);
  return {};
}

void no_senders_operation::describe(description& line) const noexcept {
  line.print("no senders to port 0x%x",
             source_ ? source_->name() : mach_port_name_t{MACH_PORT_NULL});
}

}  // namespace kedge::mach
