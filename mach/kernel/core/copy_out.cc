// Puts carried rights into a space (Darwin: ipc_right_copyout, ipc_object_copyout,
// ipc_object_copyout_name).
#include "kedge/mach/kernel/core/copy_out.h"

#include <mutex>
#include <utility>

namespace kedge::mach::kernel {
namespace {

// A receive right arrives under `name`. Requires the port lock.
void join_receive_right(ipc_space& names, mach_port_name_t name, entry& held,
                        port& target) noexcept {
  if (held.type & MACH_PORT_TYPE_SEND) names.forget_send(target, name);
  held.type |= MACH_PORT_TYPE_RECEIVE;
  target.receiver = &names;
  target.receiver_name = name;
}

// Fills in a new entry, which takes over the right's reference to the port. Requires the port lock.
void fill(ipc_space& names, mach_port_name_t name, entry& made, const carried_right& right) {
  port& target = *right.target;
  made.target = &target;
  switch (right.disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
      made.type = MACH_PORT_TYPE_SEND;
      made.urefs = 1;
      names.remember_send(target, name);
      break;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      made.type = MACH_PORT_TYPE_SEND_ONCE;
      made.urefs = 1;
      break;
    default:
      join_receive_right(names, name, made, target);
      break;
  }
}

// The right joins the entry that the port has under `name` already. Requires the port lock.
void join(ipc_space& names, mach_port_name_t name, entry& held,
          const carried_right& right) noexcept {
  if (right.disposition == MACH_MSG_TYPE_MOVE_SEND) {
    join_send_right(held, *right.target);
  } else {
    join_receive_right(names, name, held, *right.target);
  }
}

// The name under which the space has send or receive rights to the port, or MACH_PORT_NULL. Each
// send-once right has a name of its own. Requires the port lock.
mach_port_name_t known_name(const ipc_space& names, const carried_right& right) noexcept {
  if (right.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE) return MACH_PORT_NULL;
  const port& target = *right.target;
  return target.receiver == &names ? target.receiver_name : names.find_send(target);
}

}  // namespace

kern_return_t copy_out(ipc_space& names, carried_right& right, mach_port_name_t& name) {
  port* const target = right.target;
  if (!target) {
    name = right.dead ? MACH_PORT_DEAD : MACH_PORT_NULL;
    return KERN_SUCCESS;
  }
  object_lock locked(target->lock);
  if (!target->active) {
    if (right.disposition == MACH_MSG_TYPE_MOVE_SEND) --target->send_rights;
    if (right.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE) --target->send_once_rights;
    locked.unlock();
    target->release();
    right = {nullptr, right.disposition, true};
    name = MACH_PORT_DEAD;
    return KERN_SUCCESS;
  }
  name = known_name(names, right);
  if (name != MACH_PORT_NULL) {
    join(names, name, *names.find(name), right);
    locked.unlock();
    target->release();
  } else {
    entry* made = nullptr;
    name = names.active ? names.make(made) : MACH_PORT_NULL;
    if (name == MACH_PORT_NULL) return KERN_NO_SPACE;
    fill(names, name, *made, right);
  }
  right.target = nullptr;
  return KERN_SUCCESS;
}

kern_return_t copy_out_or_release(ipc_space& names, carried_right& right, mach_port_name_t& name,
                                  deferred_work& cleanup) {
  kern_return_t result = KERN_SUCCESS;
  {
    const std::lock_guard hold(names.lock);
    result = copy_out(names, right, name);
  }
  if (result != KERN_SUCCESS) release_right(right, cleanup);
  return result;
}

kern_return_t copy_out_at(ipc_space& names, carried_right& right, mach_port_name_t name,
                          profile answers) {
  entry* held = nullptr;
  const kern_return_t failed = names.find_slot(name, answers.checks_generation_bits(), held);
  if (failed != KERN_SUCCESS) return failed;
  port& target = *right.target;
  object_lock locked(target.lock);
  if (!target.active) return KERN_INVALID_CAPABILITY;
  const mach_port_name_t known = known_name(names, right);
  if (known != MACH_PORT_NULL) {
    if (known != name) return KERN_RIGHT_EXISTS;
    join(names, name, *held, right);
    locked.unlock();
    target.release();
  } else {
    if (held->type != MACH_PORT_TYPE_NONE) return KERN_NAME_EXISTS;
    names.take_slot(name, *held);
    fill(names, name, *held, right);
  }
  right.target = nullptr;
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
