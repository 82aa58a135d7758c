// Implements died() with the loop's name_watches.
#include "kedge/mach/died.h"

#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

bool died_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  if (right_.space() != space_incarnation()) {
    error_ = errc::wrong_space;
    return false;
  }
  w.owner_context().in_reactor().attachment<name_watches>().wait_for_death(name_, *this);
  right_ = send_right();
  return true;
}

bool died_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

void died_operation::on_notified(std::error_code error) noexcept {
  error_ = error;
  wake(*waiter_);
}

result<void> died_operation::await_resume() {
  if (error_) return unexpected(error_);
  return {};
}

void died_operation::describe(description& line) const noexcept {
  line.print("the death of port 0x%x", name_);
}

}  // namespace kedge::mach
