// Implements receive() over try_receive() and the port's EVFILT_MACHPORT registration.
#include "kedge/mach/receive.h"

#include "kedge/mach/error.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {
namespace {

// How many messages a turn of the task may drop.
constexpr int most_losses = 16;

}  // namespace

// Returns true if the operation has ended, with a message or an error.
bool receive_operation::take(port_registration& at) noexcept {
  const kernel::receiving outcome = source_->take_fast(message_, wanted_);
  if (outcome.code != MACH_MSG_SUCCESS) [[unlikely]]
    return end(outcome.code, at);
  if (outcome.emptied) at.clear();
  return true;
}

bool receive_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  reactor& r = w.owner_context().in_reactor();
  // A queued message belongs to the operation that waits already.
  has_claim_ = source_->claim();
  if (!has_claim_) [[unlikely]] {
    error_ = make_error_code(kedge::errc::already_awaited);
    return false;
  }
  port_registration* const at = source_->registration_in(r);
  if (at != nullptr && !at->ready() && at->is_linked()) [[likely]] {
    at->begin(*this);
    return true;
  }
  return begin_slowly(w, r, at);
}

// Takes a queued message, or makes the registration `at` usable and waits. Returns true if it
// waits.
bool receive_operation::begin_slowly(waiter& w, reactor& r, port_registration* at) {
  if (at == nullptr || !at->ready() || !take(*at)) {
    const std::error_code error = source_->link(*this, r);
    if (!error) return true;
    error_ = error;
  }
  w.unlink();  // take() may have woken it, to go on
  leave();
  return false;
}

bool receive_operation::await_settle() noexcept {
  if (!error_ && !take(*at_)) return false;
  leave();
  return true;
}

// take() for a code other than success.
bool receive_operation::end(mach_msg_return_t code, port_registration& at) noexcept {
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
      at.clear();
      return false;
    case MACH_RCV_INVALID_NAME:
      error_ = source_->name() == MACH_PORT_NULL ? make_error_code(kedge::errc::closed)
                                                 : make_error_code(errc::wrong_space);
      break;
    default:
      error_ = receive_error(code);
      break;
  }
  return true;
}

bool receive_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

void receive_operation::describe(description& line) const noexcept {
  line.print("a message on port 0x%x",
             source_ ? source_->name() : mach_port_name_t{MACH_PORT_NULL});
}

}  // namespace kedge::mach
