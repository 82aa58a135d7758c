// Waiters in queues of ports, sets and semaphores.
#include "kedge/mach/kernel/core/pending_call.h"

#include <mutex>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/semaphore.h"

namespace kedge::mach::kernel {

waiters& queue_of(pending_call& parked) noexcept {
  object& target = *parked.waits_on;
  switch (target.kind) {
    case object_kind::port_set:
      return static_cast<ipc_port_set&>(target).receivers;
    case object_kind::semaphore:
      return static_cast<semaphore&>(target).waiting;
    default:
      return parked.sending() ? static_cast<port&>(target).senders
                              : static_cast<port&>(target).receivers;
  }
}

bool withdraw(pending_call& parked) noexcept {
  const std::lock_guard hold(parked.waits_on->lock);
  if (parked.progress != pending_call::state::parked) return false;
  queue_of(parked).remove(parked);
  parked.progress = pending_call::state::idle;
  return true;
}

void complete(pending_call& waiting, kern_return_t outcome, deferred_work& cleanup) noexcept {
  waiting.outcome = outcome;
  waiting.progress = pending_call::state::completed;
  cleanup.wake(waiting);
}

void complete_all(waiters& queue, kern_return_t outcome, deferred_work& cleanup) noexcept {
  while (pending_call* each = queue.pop_front()) complete(*each, outcome, cleanup);
}

}  // namespace kedge::mach::kernel
