#include "kedge/mach/kernel/core/semaphore.h"

#include <mutex>

#include "kedge/mach/kernel/core/aftermath.h"
#include "kedge/mach/kernel/core/ipc_task.h"

namespace kedge::mach::kernel {


semaphore::semaphore(ipc_task& of, std::uint32_t initial, bool newest_first) noexcept
    : object(object_kind::semaphore), owner(&of), count(initial), newest_first_(newest_first) {}

semaphore::~semaphore() {
  owner->disown(*this);
}

kern_return_t semaphore::signal(bool keep, aftermath& after) noexcept {
  const std::lock_guard hold(lock);
  if (!active) return KERN_TERMINATED;
  if (ticket* woken = next()) {
    waiting.remove(*woken);
    complete(*woken, KERN_SUCCESS, after);
    return KERN_SUCCESS;
  }
  if (!keep) return KERN_NOT_WAITING;
  ++count;
  return KERN_SUCCESS;
}

kern_return_t semaphore::signal_all(aftermath& after) noexcept {
  const std::lock_guard hold(lock);
  if (!active) return KERN_TERMINATED;
  while (ticket* woken = waiting.pop_front()) complete(*woken, KERN_SUCCESS, after);
  return KERN_SUCCESS;
}

kern_return_t semaphore::signal_one_of(std::uint64_t task, aftermath& after) noexcept {
  const std::lock_guard hold(lock);
  if (!active) return KERN_TERMINATED;
  for (ticket* each = waiting.front(); each; each = waiters::after(*each)) {
    if (each->task != task) continue;
    waiting.remove(*each);
    complete(*each, KERN_SUCCESS, after);
    return KERN_SUCCESS;
  }
  return KERN_NOT_WAITING;
}

void semaphore::end(aftermath& after) noexcept {
  const std::lock_guard hold(lock);
  active = false;
  count = 0;
  while (ticket* woken = waiting.pop_front()) complete(*woken, KERN_TERMINATED, after);
}

}  // namespace kedge::mach::kernel
