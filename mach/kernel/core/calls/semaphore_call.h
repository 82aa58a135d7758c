// semaphore_call: the calls on semaphores (Darwin: sync_sema.c). A call that waits parks its
// pending_call.
#pragma once

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/semaphore.h"

namespace kedge::mach::kernel {

class semaphore_call {
 public:
  semaphore_call(ipc_task& caller, pending_call& state, any_reply& reply,
                 deferred_work& cleanup) noexcept
      : caller_(caller), state_(state), reply_(reply), cleanup_(cleanup) {}

  // Whether begin() does this call: those that have no task argument.
  static bool serves(call_number call) noexcept {
    return call >= call_number::semaphore_signal && call <= call_number::semaphore_wait_signal;
  }

  // Each returns how far the call is. `done` means that the reply's result is final.
  status begin(const any_request& request);
  status resume() noexcept;
  // Returns false, and does nothing, if the wait has been completed concurrently.
  bool cancel(give_up why) noexcept;

  // The calls that name the semaphore's owner as their target.
  kern_return_t create(ipc_task& owner, const requests::semaphore_create& request,
                       replies::semaphore_create& reply);
  kern_return_t destroy(ipc_task& owner, const requests::semaphore_destroy& request);

 private:
  status done(kern_return_t result) noexcept {
    reply_.result = result;
    return status::done;
  }
  kern_return_t find(mach_port_name_t name, ref<semaphore>& wanted) const noexcept;
  kern_return_t signal(mach_port_name_t name) const noexcept;
  kern_return_t signal_all(mach_port_name_t name) const noexcept;
  kern_return_t signal_thread(const requests::semaphore_signal_thread& request) const noexcept;
  status begin_wait(const requests::semaphore_wait& request);
  status begin_wait_signal(const requests::semaphore_wait_signal& request);
  status wait(const ref<semaphore>& at, std::uint64_t timeout, semaphore* to_signal);

  ipc_task& caller_;
  pending_call& state_;
  any_reply& reply_;
  deferred_work& cleanup_;
};

}  // namespace kedge::mach::kernel
