// Implements receive() over try_receive() and the port's EVFILT_MACHPORT registration.
#include "kedge/mach/receive.h"

#include <cerrno>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/port_status.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {
namespace {

// How many messages a turn of the task may drop.
constexpr int most_losses = 16;

}  // namespace

bool receive_operation::await_ready() noexcept {
  if (!source_) {
    error_ = errc::empty_right;
  } else if (source_->name() == MACH_PORT_NULL) {
    error_ = kedge::errc::closed;
  }
  return static_cast<bool>(error_);
}

bool receive_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  reactor& r = w.owner_context().in_reactor();
  // A queued message belongs to the operation that waits already.
  has_claim_ = source_->claim();
  if (!has_claim_) {
    error_ = kedge::errc::already_awaited;
    return false;
  }
  if (!source_->ready(r) || !take()) error_ = source_->link(*this, r);
  if (linked()) return true;
  w.unlink();  // take() may have woken it, to go on
  leave();
  return false;
}

bool receive_operation::await_settle() noexcept {
  if (!error_ && !take()) return false;
  leave();
  return true;
}

// Returns true if the operation has ended, with a message or an error.
bool receive_operation::take() noexcept {
  mach_msg_return_t code = source_->take(message_, wanted_);
  for (int losses = 1; is_loss(code) && !tells_losses_; ++losses) {
    if (losses == most_losses) {
      // A peer that sends as fast as this drops must not keep the loop from its other tasks.
      wake(*waiter_);
      return false;
    }
    code = source_->take(message_, wanted_);
  }
  switch (code) {
    case MACH_MSG_SUCCESS:
      break;
    case MACH_RCV_TIMED_OUT:
      linked() ? clear() : source_->found_empty();
      return false;
    case MACH_RCV_TOO_LARGE:
      error_ = errc::message_too_large;
      break;
    case MACH_RCV_BODY_ERROR:
    case MACH_RCV_HEADER_ERROR:
    case MACH_RCV_INVALID_DATA:
      error_ = errc::message_lost;
      break;
    case MACH_RCV_INVALID_NAME:
      error_ = source_->name() == MACH_PORT_NULL ? make_error_code(kedge::errc::closed)
                                                 : make_error_code(errc::wrong_space);
      break;
    default:
      error_ = msg_error(code);
      break;
  }
  return true;
}

// Ends the wait: another operation may receive.
void receive_operation::leave() noexcept {
  unlink();
  if (std::exchange(has_claim_, false)) source_->give_up();
}

bool receive_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

void receive_operation::notify(const kevent64_s&) noexcept {
  wake(*waiter_);
}

void receive_operation::closed(std::error_code why) noexcept {
  // The kqueue does not know the name.
  const bool is_unknown = why == std::error_code(ENOENT, std::system_category());
  error_ = is_unknown ? make_error_code(errc::wrong_space) : why;
  wake(*waiter_);
}

// Returns false for a port that has neither senders nor messages. The kernel has no such answer for
// a port set.
bool receive_operation::can_wake() const noexcept {
  port_status status;
  const kern_return_t code = read_status(source_->name(), status);
  return code != KERN_SUCCESS || status.mps_srights != 0 || status.mps_sorights != 0 ||
         status.mps_msgcount != 0;
}

result<received> receive_operation::await_resume() {
  if (error_) return unexpected(error_);
  return std::move(message_);
}

void receive_operation::describe(description& line) const noexcept {
  line.print("a message on port 0x%x",
             source_ ? source_->name() : mach_port_name_t{MACH_PORT_NULL});
}

}  // namespace kedge::mach
