#include "kedge/mach/kernel/core/pending_call.h"

#include <mutex>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/port_set.h"
#include "kedge/mach/kernel/core/semaphore.h"

namespace kedge::mach::kernel {

waiters& queue_of(pending_call& parked) noexcept {
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

bool withdraw(pending_call& parked) noexcept {
  const std::lock_guard hold(parked.waits_on->lock);
  if (parked.progress != pending_call::state::parked) return false;
  queue_of(parked).remove(parked);
  parked.progress = pending_call::state::idle;
  return true;
}

void complete(pending_call& waiting, kern_return_t outcome, deferred_work& after) noexcept {
  waiting.outcome = outcome;
  waiting.progress = pending_call::state::completed;
  after.wake(waiting);
}

}  // namespace kedge::mach::kernel
