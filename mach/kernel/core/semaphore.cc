// Counting semaphores (Darwin: semaphore_signal_internal, semaphore_destroy_internal).
#include "kedge/mach/kernel/core/semaphore.h"

#include <mutex>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"

namespace kedge::mach::kernel {

semaphore::semaphore(ipc_task& owning_task, std::uint32_t initial, bool newest_first) noexcept
    : object(object_kind::semaphore),
      owner(&owning_task),
      count(initial),
      newest_first_(newest_first) {}

semaphore::~semaphore() {
  owner->disown(*this);
}

kern_return_t semaphore::signal(bool keep, deferred_work& cleanup) noexcept {
  const std::lock_guard hold(lock);
  if (!active) return KERN_TERMINATED;
  if (pending_call* woken = next()) {
    waiting.remove(*woken);
    complete(*woken, KERN_SUCCESS, cleanup);
    return KERN_SUCCESS;
  }
  if (!keep) return KERN_NOT_WAITING;
  ++count;
  return KERN_SUCCESS;
}

kern_return_t semaphore::signal_all(deferred_work& cleanup) noexcept {
  const std::lock_guard hold(lock);
  if (!active) return KERN_TERMINATED;
  complete_all(waiting, KERN_SUCCESS, cleanup);
  return KERN_SUCCESS;
}

kern_return_t semaphore::signal_one_of(std::uint64_t task, deferred_work& cleanup) noexcept {
  const std::lock_guard hold(lock);
  if (!active) return KERN_TERMINATED;
  for (pending_call* each = waiting.front(); each; each = waiters::after(*each)) {
    if (each->task != task) continue;
    waiting.remove(*each);
    complete(*each, KERN_SUCCESS, cleanup);
    return KERN_SUCCESS;
  }
  return KERN_NOT_WAITING;
}

void semaphore::end(deferred_work& cleanup) noexcept {
  const std::lock_guard hold(lock);
  active = false;
  count = 0;
  complete_all(waiting, KERN_TERMINATED, cleanup);
}

}  // namespace kedge::mach::kernel
