// The calls on semaphores (Darwin: sync_sema.c).
#include "kedge/mach/kernel/core/calls/semaphore_call.h"
#include "kedge/mach/kernel/core/copy_in.h"

#include <mach/sync_policy.h>

#include <mutex>
#include <new>

#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

semaphore* served_by(const port& at) noexcept {
  return at.serves == kernel_object::semaphore ? static_cast<semaphore*>(at.served_object.get())
                                               : nullptr;
}

}  // namespace

kern_return_t semaphore_call::create(ipc_task& owner, const requests::semaphore_create& request,
                                     replies::semaphore_create& reply) {
  // Of the policies only the order of waiters is left, as on Darwin.
  constexpr std::uint32_t known = SYNC_POLICY_REVERSED | 4;
  const auto policy = static_cast<std::uint32_t>(request.policy);
  if (request.value < 0 || (policy & ~known)) return KERN_INVALID_ARGUMENT;
  const bool newest_first = (policy & SYNC_POLICY_REVERSED) != 0;
  if (caller_.names.faults.happens(fault_point::port_memory)) throw std::bad_alloc();
  const auto made = ref<semaphore>::adopt(
      new semaphore(owner, static_cast<std::uint32_t>(request.value), newest_first));
  const auto at = ref<port>::adopt(new port(kernel_object::semaphore, ref<object>(made.get())));
  if (!owner.own(*made)) return KERN_INVALID_TASK;
  return cleanup_.owner.name_send_right(caller_, *at, reply.name);
}

kern_return_t semaphore_call::destroy(ipc_task& owner, const requests::semaphore_destroy& request) {
  const mach_port_name_t name = request.name;
  if (!MACH_PORT_VALID(name)) return KERN_INVALID_ARGUMENT;
  // The right is moved into the call, and consumed whatever the call returns.
  carried_right right;
  deferred_notifications deferred;
  {
    const std::lock_guard hold(caller_.names.lock);
    entry* const found = caller_.names.find(name);
    if (!found || copy_in({caller_.names, deferred, reply_.guard, cleanup_}, name, *found,
                          {MACH_MSG_TYPE_MOVE_SEND}, right) != KERN_SUCCESS) {
      return MACH_SEND_INVALID_RIGHT;
    }
  }
  deferred.flush(cleanup_);
  semaphore* const at = right.target ? served_by(*right.target) : nullptr;
  if (at && at->owner.get() == &owner) at->end(cleanup_);
  release_right(right, cleanup_);
  return at ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
}

// Darwin: port_name_to_semaphore.
kern_return_t semaphore_call::find(mach_port_name_t name, ref<semaphore>& wanted) const noexcept {
  const std::lock_guard hold(caller_.names.lock);
  port* named = nullptr;
  const kern_return_t failed = find_send_right(caller_.names, name, named);
  if (failed != KERN_SUCCESS) return failed;
  wanted = ref<semaphore>(served_by(*named));
  return wanted ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
}

kern_return_t semaphore_call::signal(mach_port_name_t name) const noexcept {
  ref<semaphore> at;
  const kern_return_t failed = find(name, at);
  return failed == KERN_SUCCESS ? at->signal(true, cleanup_) : failed;
}

kern_return_t semaphore_call::signal_all(mach_port_name_t name) const noexcept {
  ref<semaphore> at;
  const kern_return_t failed = find(name, at);
  return failed == KERN_SUCCESS ? at->signal_all(cleanup_) : failed;
}

kern_return_t semaphore_call::signal_thread(
    const requests::semaphore_signal_thread& request) const noexcept {
  const mach_port_name_t thread = request.thread;
  std::uint64_t task = 0;
  if (thread != MACH_PORT_NULL) {
    // The threads of a task share one port.
    const std::lock_guard hold(caller_.names.lock);
    port* found = nullptr;
    if (find_send_right(caller_.names, thread, found) != KERN_SUCCESS ||
        found->serves != kernel_object::thread) {
      return KERN_INVALID_ARGUMENT;
    }
    task = found->served_task;
  }
  ref<semaphore> at;
  if (const kern_return_t failed = find(request.name, at); failed != KERN_SUCCESS) return failed;
  return task != 0 ? at->signal_one_of(task, cleanup_) : at->signal(false, cleanup_);
}

status semaphore_call::begin(const any_request& request) {
  switch (request.number) {
    case call_number::semaphore_signal:
      return done(signal(request.as<requests::semaphore_signal>().name));
    case call_number::semaphore_signal_all:
      return done(signal_all(request.as<requests::semaphore_signal_all>().name));
    case call_number::semaphore_signal_thread:
      return done(signal_thread(request.as<requests::semaphore_signal_thread>()));
    case call_number::semaphore_wait:
      return begin_wait(request.as<requests::semaphore_wait>());
    default:
      return begin_wait_signal(request.as<requests::semaphore_wait_signal>());
  }
}

status semaphore_call::begin_wait(const requests::semaphore_wait& request) {
  ref<semaphore> at;
  const kern_return_t failed = find(request.name, at);
  return failed == KERN_SUCCESS ? wait(at, request.timeout, nullptr) : done(failed);
}

status semaphore_call::begin_wait_signal(const requests::semaphore_wait_signal& request) {
  ref<semaphore> at, to_signal;
  kern_return_t failed = find(request.signal, to_signal);
  if (failed == KERN_SUCCESS) failed = find(request.name, at);
  return failed == KERN_SUCCESS ? wait(at, request.timeout, to_signal.get()) : done(failed);
}

// Signals the other semaphore once this call is queued at the first, and also if it need not wait.
status semaphore_call::wait(const ref<semaphore>& at, std::uint64_t timeout, semaphore* to_signal) {
  state_.stage = pending_call::phase::semaphore;
  state_.timeout = timeout;
  state_.task = caller_.id;
  // terminate() must find the pending_call in the task before it can be in the queue.
  state_.waits_on = ref<object>(at.get());
  caller_.add(state_);
  kern_return_t result = KERN_SUCCESS;
  bool waits = false;
  {
    const std::lock_guard hold(at->lock);
    if (!at->active || caller_.terminated()) {
      result = KERN_TERMINATED;
    } else if (at->count > 0) {
      --at->count;
    } else if (timeout == 0) {
      result = KERN_OPERATION_TIMED_OUT;
    } else {
      waits = true;
      state_.progress = pending_call::state::parked;
      at->waiting.push_back(state_);
    }
  }
  if (to_signal && to_signal->signal(true, cleanup_) == KERN_TERMINATED && waits) {
    // The other semaphore has ended, so no peer will answer: the wait ends too, unless it has been
    // completed concurrently.
    if (!withdraw(state_)) return status::parked;
    waits = false;
    result = KERN_TERMINATED;
  }
  if (waits) return status::parked;
  caller_.remove(state_);
  state_.waits_on = {};
  return done(result);
}

status semaphore_call::resume() noexcept {
  caller_.remove(state_);
  state_.waits_on = {};
  state_.progress = pending_call::state::idle;
  return done(state_.outcome);
}

bool semaphore_call::cancel(give_up why) noexcept {
  if (!withdraw(state_)) return false;
  caller_.remove(state_);
  state_.waits_on = {};
  done(why == give_up::timed_out ? KERN_OPERATION_TIMED_OUT : KERN_ABORTED);
  return true;
}

}  // namespace kedge::mach::kernel
