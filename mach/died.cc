// Implements died() with the loop's notification_port.
#include "kedge/mach/died.h"

#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

bool died_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  held_ = send_right::another(name_);
  w.where().in_reactor().attachment<notification_port>().wait_for_death(name_, *this);
  return true;
}

cancel_result died_operation::await_cancel() noexcept {
  leave();
  return cancel_result::withdrawn;
}

void died_operation::on_notified(std::error_code error) noexcept {
  error_ = error;
  waiter_->where().in_reactor().ready(*waiter_);
}

result<void> died_operation::await_resume() {
  if (error_) return unexpected(error_);
  return {};
}

void died_operation::describe(description& line) const noexcept {
  line.print("the death of port 0x%x", name_);
}

}  // namespace kedge::mach
