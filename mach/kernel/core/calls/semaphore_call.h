// The calls on semaphores (Darwin: sync_sema.c). One that waits parks the pending_call.
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
  semaphore_call(ipc_task& caller, pending_call& state, reply& answer,
                 deferred_work& after) noexcept
      : caller_(caller), state_(state), answer_(answer), after_(after) {}

  // The calls that have no task argument.
  static bool serves(call_number call) noexcept {
    return call >= call_number::semaphore_signal && call <= call_number::semaphore_wait_signal;
  }

  // Each returns how the call stands; `done` means that answer.result is final.
  status begin(const request& what);
  status resume() noexcept;
  bool cancel(give_up why) noexcept;

  // semaphore_create and semaphore_destroy, which name the owner.
  kern_return_t create(ipc_task& owner, const request& what);
  kern_return_t destroy(ipc_task& owner, mach_port_name_t name);

 private:
  status done(kern_return_t result) noexcept {
    answer_.result = result;
    return status::done;
  }
  kern_return_t find(mach_port_name_t name, ref<semaphore>& found) const noexcept;
  kern_return_t signal(const request& what) const noexcept;
  status wait(const ref<semaphore>& at, semaphore* then_signal);

  ipc_task& caller_;
  pending_call& state_;
  reply& answer_;
  deferred_work& after_;
};

}  // namespace kedge::mach::kernel
