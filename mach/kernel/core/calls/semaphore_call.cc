#include "kedge/mach/kernel/core/calls/semaphore_call.h"

#include <mach/sync_policy.h>

#include <mutex>

#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

semaphore* served_by(const port& at) noexcept {
  return at.serves == kernel_object::semaphore ? static_cast<semaphore*>(at.served_object.get())
                                               : nullptr;
}

}  // namespace

kern_return_t semaphore_call::create(ipc_task& owner, const request& what) {
  // Of the policies only the order of waiters is left, as on Darwin.
  constexpr std::uint32_t known = SYNC_POLICY_REVERSED | 4;
  const auto policy = static_cast<std::uint32_t>(what.words[0]);
  const auto value = static_cast<std::int32_t>(what.words[1]);
  if (value < 0 || (policy & ~known)) return KERN_INVALID_ARGUMENT;
  const bool newest_first = (policy & SYNC_POLICY_REVERSED) != 0;
  const auto made =
      ref<semaphore>::adopt(new semaphore(owner, static_cast<std::uint32_t>(value), newest_first));
  const auto at = ref<port>::adopt(new port(kernel_object::semaphore, ref<object>(made.get())));
  if (!owner.own(*made)) return KERN_INVALID_TASK;
  return after_.owner.name_send_right(caller_, *at, answer_);
}

kern_return_t semaphore_call::destroy(ipc_task& owner, mach_port_name_t name) {
  if (name == MACH_PORT_NULL || name == MACH_PORT_DEAD) return KERN_INVALID_ARGUMENT;
  // The right is moved into the call, whatever comes of it.
  carried_right right;
  deferred_notifications then;
  {
    const std::lock_guard hold(caller_.names.lock);
    entry* found = caller_.names.find(name);
    if (!found || copy_in({caller_.names, then, answer_.guard, after_}, name, *found,
                          {MACH_MSG_TYPE_MOVE_SEND}, right) != KERN_SUCCESS) {
      return MACH_SEND_INVALID_RIGHT;
    }
  }
  then.flush(after_);
  semaphore* const at = right.target ? served_by(*right.target) : nullptr;
  if (at && at->owner.get() == &owner) at->end(after_);
  release_right(right, after_);
  return at ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
}

// Darwin: port_name_to_semaphore.
kern_return_t semaphore_call::find(mach_port_name_t name, ref<semaphore>& found) const noexcept {
  if (!MACH_PORT_VALID(name)) return KERN_INVALID_NAME;
  space& names = caller_.names;
  const std::lock_guard hold(names.lock);
  entry* at = names.find(name);
  if (!at) return KERN_INVALID_NAME;
  if (convert_if_dead(names, name, *at) || (at->type & MACH_PORT_TYPE_SEND) == 0) {
    return KERN_INVALID_RIGHT;
  }
  found = ref<semaphore>(served_by(static_cast<const port&>(*at->target)));
  return found ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
}

kern_return_t semaphore_call::signal(const request& what) const noexcept {
  const auto name = static_cast<mach_port_name_t>(what.words[0]);
  const auto thread = static_cast<mach_port_name_t>(what.words[1]);
  const bool one_thread = what.call == call_number::semaphore_signal_thread;
  std::uint64_t task = 0;
  if (one_thread && thread != MACH_PORT_NULL) {
    // The threads of a task share their port here.
    const std::lock_guard hold(caller_.names.lock);
    entry* at = MACH_PORT_VALID(thread) ? caller_.names.find(thread) : nullptr;
    if (!at || convert_if_dead(caller_.names, thread, *at) ||
        (at->type & MACH_PORT_TYPE_SEND) == 0) {
      return KERN_INVALID_ARGUMENT;
    }
    const port& of = static_cast<const port&>(*at->target);
    if (of.serves != kernel_object::thread) return KERN_INVALID_ARGUMENT;
    task = of.served_task;
  }
  ref<semaphore> at;
  if (const kern_return_t failed = find(name, at); failed != KERN_SUCCESS) return failed;
  if (what.call == call_number::semaphore_signal_all) return at->signal_all(after_);
  return task != 0 ? at->signal_one_of(task, after_) : at->signal(!one_thread, after_);
}

status semaphore_call::begin(const request& what) {
  const bool waits =
      what.call == call_number::semaphore_wait || what.call == call_number::semaphore_wait_signal;
  if (!waits) return done(signal(what));
  state_.stage = pending_call::phase::semaphore;
  state_.timeout = what.words[1];
  state_.task = caller_.id;
  ref<semaphore> at, then_signal;
  kern_return_t failed = KERN_SUCCESS;
  if (what.call == call_number::semaphore_wait_signal) {
    failed = find(static_cast<mach_port_name_t>(what.words[2]), then_signal);
  }
  if (failed == KERN_SUCCESS) failed = find(static_cast<mach_port_name_t>(what.words[0]), at);
  if (failed != KERN_SUCCESS) return done(failed);
  return wait(at, then_signal.get());
}

// The other semaphore is signalled once this call stands in the queue, and also if it need not
// wait.
status semaphore_call::wait(const ref<semaphore>& at, semaphore* then_signal) {
  // terminate() must find the pending_call in the task before it can stand in the queue.
  state_.waits_on = ref<object>(at.get());
  caller_.add(state_);
  at->lock.lock();
  kern_return_t result = KERN_SUCCESS;
  bool waits = false;
  if (!at->active || caller_.terminated()) {
    result = KERN_TERMINATED;
  } else if (at->count > 0) {
    --at->count;
  } else if (state_.timeout == 0) {
    result = KERN_OPERATION_TIMED_OUT;
  } else {
    waits = true;
    state_.progress = pending_call::state::parked;
    at->waiting.push_back(state_);
  }
  at->lock.unlock();
  if (then_signal && then_signal->signal(true, after_) == KERN_TERMINATED && waits) {
    // Nobody will answer this wait: unless it has been woken already, it ends.
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
