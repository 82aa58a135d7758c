// ipc_task: a task: a space, the ports by which the kernel serves it, and the identity that its
// messages carry.
//
// Ownership: counted by references. Threads: any.
#pragma once

#include <mach/message.h>

#include <atomic>
#include <cstdint>

#include "kedge/mach/kernel/core/fault_points.h"
#include "kedge/mach/kernel/core/guard_policy.h"
#include "kedge/mach/kernel/core/ipc_space.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/mach/kernel/core/reference_count.h"
#include "kedge/mach/kernel/core/semaphore.h"
#include "kedge/mach/kernel/core/special_ports.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class deferred_work;
class port;

// What the trailers of a task's messages say of it.
struct identity {
  security_token_t security{};
  audit_token_t audit{};
};

class ipc_task {
 public:
  // The special ports are inherited from the parent. Without a parent, `bootstrap` is the only one.
  ipc_task(std::uint64_t number, const name_policy& policy, const identity& sender, port& host,
           ipc_task* parent, port& bootstrap, fault_points& faults);
  ~ipc_task();
  ipc_task(const ipc_task&) = delete;
  ipc_task& operator=(const ipc_task&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  const std::uint64_t id;
  const identity credentials;
  ipc_space names;
  guard_policy guards;
  special_ports special;

  bool terminated() const noexcept { return terminated_.load(std::memory_order_acquire); }
  port& self_port() noexcept { return *self_port_; }

  // The parked calls of this task. add() is called before the call is in a queue, remove() when it
  // is not in a queue any more.
  void add(pending_call& parked) noexcept;
  void remove(pending_call& parked) noexcept;

  // The semaphores of this task. own() returns false if the task has been terminated. A semaphore
  // that is deleted disowns itself.
  bool own(semaphore& made) noexcept;
  void disown(semaphore& gone) noexcept;

  // Aborts parked calls, ends the semaphores, and destroys all rights in order of their indices.
  // Allowed at any moment. Later calls do nothing. No lock may be held.
  void terminate(deferred_work& cleanup);

 private:
  void abort_parked(deferred_work& cleanup) noexcept;
  void release_rights(deferred_work& cleanup);
  void reserve(mach_port_name_t name, port* send_right, bool pinned);

  reference_count references_;
  std::atomic<bool> terminated_{false};
  base::mutex parked_lock_;
  base::list<pending_call, &pending_call::parked> parked_;
  base::mutex semaphores_lock_;
  base::list<semaphore, &semaphore::of_owner> semaphores_;
  ref<port> self_port_;
  ref<port> thread_port_;
};

}  // namespace kedge::mach::kernel
