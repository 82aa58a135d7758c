#include "kedge/mach/kernel/core/ipc_task.h"

#include <mutex>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

port* new_send_right(port& to) noexcept {
  const std::lock_guard hold(to.lock);
  return make_send_right(to);
}

}  // namespace

ipc_task::ipc_task(std::uint64_t number, const name_policy& names, const identity& who_it_is,
                   port& host, ipc_task* parent, port& bootstrap)
    : id(number),
      who(who_it_is),
      space(names),
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
  if (port* const at = special.copy(slot::bootstrap).target) reserve(bootstrap_name, at, false);
}

ipc_task::~ipc_task() = default;

void ipc_task::reserve(mach_port_name_t name, port* send_right, bool pinned) {
  entry* slot = nullptr;
  space.make_reserved(name, slot);
  slot->target = send_right;
  slot->type = MACH_PORT_TYPE_SEND;
  slot->urefs = 1;
  slot->pinned = pinned;
  space.remember_send(*send_right, name);
}

void ipc_task::add(pending_call& parked) noexcept {
  parked_lock_.lock();
  parked_.push_back(parked);
  parked_lock_.unlock();
}

void ipc_task::remove(pending_call& parked) noexcept {
  parked_lock_.lock();
  if (parked.parked.is_linked()) parked_.remove(parked);
  parked_lock_.unlock();
}

bool ipc_task::own(semaphore& made) noexcept {
  semaphores_lock_.lock();
  const bool alive = !terminated();
  if (alive) semaphores_.push_back(made);
  semaphores_lock_.unlock();
  return alive;
}

void ipc_task::disown(semaphore& gone) noexcept {
  semaphores_lock_.lock();
  if (gone.of_owner.is_linked()) semaphores_.remove(gone);
  semaphores_lock_.unlock();
}

void ipc_task::terminate(deferred_work& after) {
  if (terminated_.exchange(true, std::memory_order_acq_rel)) return;

  parked_lock_.lock();
  for (pending_call* each = parked_.front(); each; each = decltype(parked_)::after(*each)) {
    object& at = *each->waits_on;
    at.lock.lock();
    if (each->progress == pending_call::state::parked) {
      queue_of(*each).remove(*each);
      complete(*each,
               each->stage == pending_call::stage::semaphore ? KERN_TERMINATED
               : each->sending()                             ? MACH_SEND_INVALID_DEST
                                                             : MACH_RCV_PORT_DIED,
               after);
    }
    at.lock.unlock();
  }
  parked_lock_.unlock();

  semaphores_lock_.lock();
  while (semaphore* each = semaphores_.pop_front()) each->end(after);
  semaphores_lock_.unlock();
  after.wake_all();

  space.lock.lock();
  space.active = false;
  for (std::uint32_t index = 1; index < space.table_size(); ++index) {
    const mach_port_name_t name = space.name_at(index);
    if (name == MACH_PORT_NULL) continue;
    owed then;
    terminate_rights(space, name, *space.find(name), then, after);
    space.lock.unlock();
    then.settle(after);
    space.lock.lock();
  }
  space.lock.unlock();

  special.release_all(after);
  self_port_->retain();
  destroy_port(self_port_.get(), after);
  thread_port_->retain();
  destroy_port(thread_port_.get(), after);
}

}  // namespace kedge::mach::kernel
