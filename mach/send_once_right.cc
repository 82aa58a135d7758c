// Implements send_once_right with mach_port_deallocate().
#include "kedge/mach/send_once_right.h"

#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/misuse.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

send_once_right send_once_right::adopt(mach_port_name_t name, const place& where) noexcept {
  send_once_right right;
  if (!MACH_PORT_VALID(name)) return right;
  right.name_ = name;
  right.space_ = space_incarnation();
  ledger::record(ledger::kind::send_once, right.space_, name, where);
  return right;
}

mach_port_name_t send_once_right::release() && noexcept {
  const mach_port_name_t name = std::exchange(name_, mach_port_name_t{MACH_PORT_NULL});
  if (name == MACH_PORT_NULL) return name;
  ledger::erase(ledger::kind::send_once, space_, name);
  if (space_ == space_incarnation()) return name;
  report_other_space("a send-once right", name, space_);
  return MACH_PORT_NULL;
}

void send_once_right::destroy() noexcept {
  ledger::erase(ledger::kind::send_once, space_, name_);
  if (space_ != space_incarnation()) {
    report_other_space("a send-once right", name_, space_);
    return;
  }
  // The one call that is right for a send-once right and a dead name alike.
  report_release("a send-once right", name_, mach_port_deallocate(mach_task_self(), name_));
}

}  // namespace kedge::mach
