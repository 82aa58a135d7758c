// Implements receive() over try_receive() and the port's EVFILT_MACHPORT registration.
#include "kedge/mach/receive.h"

#include <cerrno>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {
namespace {

// How many messages a turn of the task may drop.
constexpr int most_losses = 16;

}  // namespace

// Returns true if the operation has ended, with a message or an error. `unlinked` is the
// registration of the source if the operation is not linked to it.
bool receive_operation::take(registration* unlinked) noexcept {
  bool emptied = false;
  const mach_msg_return_t code = source_->take(message_, wanted_, &emptied);
  if (code != MACH_MSG_SUCCESS) [[unlikely]]
    return end(code, unlinked);
  if (emptied) linked() ? clear() : unlinked->clear();
  return true;
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
  registration* const at = source_->registration_in(r);
  const bool is_over = at != nullptr && at->ready() && take(at);
  if (!is_over && (at == nullptr || at->link(*this))) error_ = source_->link(*this, r);
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

// take() for a code other than success.
bool receive_operation::end(mach_msg_return_t code, registration* unlinked) noexcept {
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
      linked() ? clear() : unlinked->clear();
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

void receive_operation::notify(const kevent64_s&) noexcept {
  wake(*waiter_);
}

void receive_operation::closed(std::error_code why) noexcept {
  // The kqueue does not know the name.
  const bool is_unknown = why == std::error_code(ENOENT, std::system_category());
  error_ = is_unknown ? make_error_code(errc::wrong_space) : why;
  wake(*waiter_);
}

bool receive_operation::can_wake() const noexcept {
  return source_->can_receive();
}

void receive_operation::describe(description& line) const noexcept {
  line.print("a message on port 0x%x",
             source_ ? source_->name() : mach_port_name_t{MACH_PORT_NULL});
}

}  // namespace kedge::mach
