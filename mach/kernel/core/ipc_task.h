// A task: a space, the ports by which the kernel serves it, and the identity that its messages
// carry.
#pragma once

#include <mach/message.h>

#include <atomic>
#include <cstdint>

#include "kedge/mach/kernel/core/guard_policy.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/mach/kernel/core/reference_count.h"
#include "kedge/mach/kernel/core/semaphore.h"
#include "kedge/mach/kernel/core/space.h"
#include "kedge/mach/kernel/core/special_ports.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class deferred_work;
class port;

// Who a task is to the receivers of its messages.
struct identity {
  security_token_t security{};
  audit_token_t audit{};
};

class ipc_task {
 public:
  // Its special ports are its parent's; without a parent `bootstrap` is one.
  ipc_task(std::uint64_t id, const name_policy& names, const identity& who, port& host,
           ipc_task* parent, port& bootstrap);
  ~ipc_task();
  ipc_task(const ipc_task&) = delete;
  ipc_task& operator=(const ipc_task&) = delete;

  void retain() noexcept { references_.add(); }
  void release() noexcept {
    if (references_.remove()) delete this;
  }

  const std::uint64_t id;
  const identity who;
  class space space;
  guard_policy guards;
  special_ports special;

  bool terminated() const noexcept { return terminated_.load(std::memory_order_acquire); }
  port& self_port() noexcept { return *self_port_; }

  // Parked tickets of this task. add() is called before the pending_call is queued anywhere,
  // remove() when it is in no queue.
  void add(pending_call& parked) noexcept;
  void remove(pending_call& parked) noexcept;

  // The semaphores of this task. False: it has been terminated. A semaphore takes itself out when
  // it is freed.
  bool own(semaphore& made) noexcept;
  void disown(semaphore& gone) noexcept;

  // Destroys all rights, in order of their indices, ends its semaphores, and aborts parked calls.
  // Legal at any moment; once.
  void terminate(deferred_work& after);

 private:
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
