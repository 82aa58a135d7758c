// A counting semaphore (Darwin: sync_sema.c). It belongs to a task, with which it ends; a name for
// it is a send right to a port that serves it, and without any such right, nor a waiter, it is
// gone. `lock` guards the count and the queue.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

class deferred_work;
class ipc_task;

class semaphore final : public object {
 public:
  // `newest_first`: of several waiters the one that came last is woken first.
  semaphore(ipc_task& owner, std::uint32_t initial, bool newest_first) noexcept;

  // Wakes the next waiter; without one: counts up if `keep`, else KERN_NOT_WAITING.
  // KERN_TERMINATED.
  kern_return_t signal(bool keep, deferred_work& after) noexcept;
  // Wakes all; nothing is kept for those who come later. KERN_TERMINATED.
  kern_return_t signal_all(deferred_work& after) noexcept;
  // Wakes the first waiter of the task; KERN_NOT_WAITING. KERN_TERMINATED.
  kern_return_t signal_one_of(std::uint64_t task, deferred_work& after) noexcept;
  // Waiters, and all who come later, get KERN_TERMINATED.
  void end(deferred_work& after) noexcept;

  const ref<ipc_task> owner;
  base::list_link<semaphore> of_owner;  // among the owner's semaphores
  std::uint32_t count;
  waiters waiting;

 private:
  ~semaphore() override;
  pending_call* next() const noexcept { return newest_first_ ? waiting.back() : waiting.front(); }

  const bool newest_first_;
};

}  // namespace kedge::mach::kernel
