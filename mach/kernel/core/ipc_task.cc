// The life of a task (Darwin: ipc_task_init, ipc_task_terminate, ipc_space_terminate).
#include "kedge/mach/kernel/core/ipc_task.h"

#include <mutex>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right_release.h"

namespace kedge::mach::kernel {
namespace {

port* new_send_right(port& target) noexcept {
  const std::lock_guard hold(target.lock);
  return make_send_right(target);
}

}  // namespace

ipc_task::ipc_task(std::uint64_t number, const name_policy& policy, const identity& sender,
                   port& host, ipc_task* parent, port& bootstrap, fault_points& faults)
    : id(number),
      credentials(sender),
      names(policy, {faults, number}),
      self_port_(ref<port>::adopt(new port(kernel_object::task, number))),
      thread_port_(ref<port>::adopt(new port(kernel_object::thread, number))) {
  reserve(task_self_name, new_send_right(*self_port_), true);
  reserve(thread_self_name, new_send_right(*thread_port_), true);
  reserve(host_self_name, new_send_right(host), true);
  using slot = special_ports::slot;
  if (parent) {
    special.inherit(parent->special);
  } else {
    special.exchange(slot::bootstrap, {new_send_right(bootstrap), MACH_MSG_TYPE_MOVE_SEND, false});
  }
  if (port* const inherited = special.copy(slot::bootstrap).target) {
    reserve(bootstrap_name, inherited, false);
  }
}

ipc_task::~ipc_task() = default;

void ipc_task::reserve(mach_port_name_t name, port* send_right, bool pinned) {
  entry* made = nullptr;
  names.make_reserved(name, made);
  made->target = send_right;
  made->type = MACH_PORT_TYPE_SEND;
  made->urefs = 1;
  made->pinned = pinned;
  names.remember_send(*send_right, name);
}

void ipc_task::add(pending_call& parked) noexcept {
  const std::lock_guard hold(parked_lock_);
  parked_.push_back(parked);
}

void ipc_task::remove(pending_call& parked) noexcept {
  const std::lock_guard hold(parked_lock_);
  if (parked.parked.is_linked()) parked_.remove(parked);
}

bool ipc_task::own(semaphore& made) noexcept {
  const std::lock_guard hold(semaphores_lock_);
  if (terminated()) return false;
  semaphores_.push_back(made);
  return true;
}

void ipc_task::disown(semaphore& gone) noexcept {
  const std::lock_guard hold(semaphores_lock_);
  if (gone.of_owner.is_linked()) semaphores_.remove(gone);
}

void ipc_task::abort_parked(deferred_work& cleanup) noexcept {
  const std::lock_guard hold(parked_lock_);
  for (pending_call* each = parked_.front(); each; each = decltype(parked_)::after(*each)) {
    const std::lock_guard hold_object(each->waits_on->lock);
    if (each->progress != pending_call::state::parked) continue;
    queue_of(*each).remove(*each);
    complete(*each,
             each->stage == pending_call::phase::semaphore ? KERN_TERMINATED
             : each->sending()                             ? MACH_SEND_INVALID_DEST
                                                           : MACH_RCV_PORT_DIED,
             cleanup);
  }
}

void ipc_task::release_rights(deferred_work& cleanup) {
  guard_violation none;  // the end of a task ignores guards
  std::unique_lock locked(names.lock);
  names.active = false;
  for (std::uint32_t index = 1; index < names.table_size(); ++index) {
    const mach_port_name_t name = names.name_at(index);
    if (name == MACH_PORT_NULL) continue;
    deferred_notifications deferred;
    terminate_rights({names, deferred, none, cleanup}, name, *names.find(name));
    const scoped_unlock gap(locked);
    deferred.flush(cleanup);
  }
}

void ipc_task::terminate(deferred_work& cleanup) {
  if (terminated_.exchange(true, std::memory_order_acq_rel)) return;
  abort_parked(cleanup);
  {
    const std::lock_guard hold(semaphores_lock_);
    while (semaphore* each = semaphores_.pop_front()) each->end(cleanup);
  }
  cleanup.wake_all();
  release_rights(cleanup);
  special.release_all(cleanup);
  self_port_->retain();
  destroy_port(self_port_.get(), cleanup);
  thread_port_->retain();
  destroy_port(thread_port_.get(), cleanup);
}

}  // namespace kedge::mach::kernel
