// semaphore: a counting semaphore (Darwin: sync_sema.c).
//
// Ownership: it belongs to a task and ends with it. Its name is a send right to a port that serves
// it. Without such a right and without a waiter it is deleted.
// Locks: `lock` guards the count and the queue.
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
  // `newest_first`: of several waiters the last to arrive is woken first.
  semaphore(ipc_task& owner, std::uint32_t initial, bool newest_first) noexcept;

  // Wakes the next waiter. Without a waiter it counts up if `keep`, and is KERN_NOT_WAITING
  // otherwise. KERN_TERMINATED.
  kern_return_t signal(bool keep, deferred_work& cleanup) noexcept;
  // Wakes all waiters, and does not count up for later ones. KERN_TERMINATED.
  kern_return_t signal_all(deferred_work& cleanup) noexcept;
  // Wakes the first waiter of the task. KERN_NOT_WAITING, KERN_TERMINATED.
  kern_return_t signal_one_of(std::uint64_t task, deferred_work& cleanup) noexcept;
  // Ends the semaphore: present waiters and later calls get KERN_TERMINATED.
  void end(deferred_work& cleanup) noexcept;

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
