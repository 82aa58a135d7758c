#include "kedge/mach/kernel/core/ticket.h"

#include <mutex>

#include "kedge/mach/kernel/core/aftermath.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/port_set.h"
#include "kedge/mach/kernel/core/semaphore.h"

namespace kedge::mach::kernel {

waiters& queue_of(ticket& parked) noexcept {
  object& at = *parked.waits_on;
  switch (at.kind) {
    case object_kind::port_set:
      return static_cast<port_set&>(at).receivers;
    case object_kind::semaphore:
      return static_cast<semaphore&>(at).waiting;
    default:
      return parked.sending() ? static_cast<port&>(at).senders : static_cast<port&>(at).receivers;
  }
}

bool withdraw(ticket& parked) noexcept {
  const std::lock_guard hold(parked.waits_on->lock);
  if (parked.progress != ticket::state::parked) return false;
  queue_of(parked).remove(parked);
  parked.progress = ticket::state::idle;
  return true;
}

void complete(ticket& waiting, kern_return_t outcome, aftermath& after) noexcept {
  waiting.outcome = outcome;
  waiting.progress = ticket::state::completed;
  after.wake(waiting);
}

}  // namespace kedge::mach::kernel
