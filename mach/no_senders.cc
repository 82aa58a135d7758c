// Implements no_senders() with MACH_NOTIFY_NO_SENDERS.
#include "kedge/mach/no_senders.h"

#include <mach/notify.h>

#include <new>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/notification_request.h"
#include "kedge/mach/port_status.h"

namespace kedge::mach {
namespace {

// The kernel's counts of the port, or zeros if it does not know the name.
port_status status_of(mach_port_name_t name) noexcept {
  port_status status;
  read_status(name, status);
  return status;
}

}  // namespace

bool no_senders_operation::await_ready() noexcept {
  if (!source_) {
    error_ = errc::empty_right;
  } else if (source_->name() == MACH_PORT_NULL) {
    error_ = kedge::errc::closed;
  } else if (source_->space() != space_incarnation()) {
    error_ = errc::wrong_space;
  } else if (source_->senders_awaited) {
    error_ = kedge::errc::already_awaited;
  }
  return static_cast<bool>(error_);
}

bool no_senders_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  notify_port_.open(w);
  error_ = request();
  return !error_ && (notify_port_.start(w) || !take_notification());
}

// Requests the notification, with the number of send rights made so far as its sync argument. If no
// send right exists, the kernel notifies at once (ipc_port_nsrequest).
std::error_code no_senders_operation::request() noexcept {
  send_once_right displaced;
  const kern_return_t code = replace_request(
      source_->name(), MACH_NOTIFY_NO_SENDERS, status_of(source_->name()).mps_mscount,
      notify_port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE, displaced);
  if (code != KERN_SUCCESS) return kern_error(code);
  if (!displaced_) displaced_ = std::move(displaced);
  requested_ = source_->senders_awaited = true;
  return {};
}

void no_senders_operation::withdraw_request() noexcept {
  if (!requested_) return;
  requested_ = source_->senders_awaited = false;
  if (source_->name() == MACH_PORT_NULL) return;
  static_cast<void>(remove_request(source_->name(), MACH_NOTIFY_NO_SENDERS));
  restore_displaced();
}

// Registers again what the request has displaced. If no send right exists, the kernel notifies its
// owner at once.
void no_senders_operation::restore_displaced() noexcept {
  if (source_->name() == MACH_PORT_NULL) return;
  restore_request(source_->name(), MACH_NOTIFY_NO_SENDERS, std::move(displaced_));
}

bool no_senders_operation::await_settle() noexcept {
  return notify_port_.settle() && take_notification();
}

// Takes the message that has arrived. Returns false if the wait continues: the request has been
// made again.
bool no_senders_operation::take_notification() noexcept {
  requested_ = source_->senders_awaited = false;
  for (;;) {
    const result<received> notification = notify_port_.take();
    if (!notification) {
      error_ = notification.error();
      // The request may still be armed, for a port that has gone.
      requested_ = source_->senders_awaited = true;
      withdraw_request();
      return true;
    }
    if (!must_go_on(*notification)) return true;
    try {
      notify_port_.open(*waiter_);
      error_ = request();
    } catch (const std::system_error& e) {
      error_ = e.code();
    } catch (const std::bad_alloc&) {
      error_ = std::make_error_code(std::errc::not_enough_memory);
    }
    if (error_) {
      restore_displaced();
      return true;
    }
    if (notify_port_.start(*waiter_)) return false;
    requested_ = source_->senders_awaited = false;
  }
}

// Returns true if `m` does not end the wait: a send right was made since the kernel has sent it, or
// it tells that another library has displaced the request and destroyed its right.
bool no_senders_operation::must_go_on(const received& m) noexcept {
  const bool is_open = m.from_kernel() && source_->name() != MACH_PORT_NULL;
  if (is_open && m.id() == MACH_NOTIFY_SEND_ONCE) return true;
  if (!is_open || m.id() != MACH_NOTIFY_NO_SENDERS) {
    error_ = kedge::errc::closed;
    return false;
  }
  if (status_of(source_->name()).mps_srights != 0) return true;
  restore_displaced();
  return false;
}

bool no_senders_operation::await_cancel(cancel_cause cause) noexcept {
  withdraw_request();
  notify_port_.cancel(cause);
  return true;
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
