// Implements reply_port with a receive_operation on the port.
#include "kedge/mach/reply_port.h"

#include <new>
#include <utility>

#include "kedge/mach/current_space.h"
#include "kedge/mach/port_source.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

void reply_port::open(waiter& w) {
  check_space(w.owner_context().in_reactor());
  cache_ = &w.owner_context().in_reactor().attachment<reply_port_cache>();
  port_ = cache_->take();
}

bool reply_port::start(waiter& w, std::size_t max) noexcept {
  receiving_.emplace(port_source_hold(port_.source_), wanted_message{.max = max},
                     /*tells_losses=*/true);
  try {
    return !receiving_->await_ready() && receiving_->await_suspend(w);
  } catch (const std::bad_alloc&) {
    error_ = std::make_error_code(std::errc::not_enough_memory);
    return false;
  }
}

void reply_port::give_back() noexcept {
  if (!port_) return;
  received notification;
  const mach_msg_return_t code = port_.source_->take(notification);
  const bool is_idle = code == MACH_MSG_SUCCESS || code == MACH_RCV_TIMED_OUT;
  is_idle ? cache_->give_back(std::move(port_)) : port_.destroy();
}

result<received> reply_port::take() noexcept {
  if (error_) return unexpected(error_);
  result<received> message = receiving_->await_resume();
  receiving_.reset();
  if (message) {
    port_.source_->found_empty();
    cache_->give_back(std::move(port_));
  } else {
    port_.destroy();
  }
  return message;
}

}  // namespace kedge::mach
