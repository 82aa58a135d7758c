// The state of entries whose ports have died, and the type bits of entries (Darwin: ipc_right.c).
#include "kedge/mach/kernel/core/right.h"

#include <mutex>
#include <utility>

namespace kedge::mach::kernel {

object_lock lock_if_alive(ipc_space& names, mach_port_name_t name, entry& held) noexcept {
  port& target = port_of(held);
  object_lock locked(target.lock);
  if (target.active) return locked;
  if (held.type == MACH_PORT_TYPE_SEND) {
    --target.send_rights;
    names.forget_send(target, name);
  } else {
    --target.send_once_rights;
    held.urefs = 1;
  }
  become_dead(held, held.request != 0 && target.requests[held.request].notify);
  locked.unlock();
  target.release();
  return {};
}

bool convert_if_dead(ipc_space& names, mach_port_name_t name, entry& held) noexcept {
  if (held.type == MACH_PORT_TYPE_DEAD_NAME) return true;
  if ((held.type & MACH_PORT_TYPE_SEND_RIGHTS) == 0 || (held.type & MACH_PORT_TYPE_RECEIVE)) {
    return false;
  }
  return !lock_if_alive(names, name, held).owns_lock();
}

kern_return_t find_send_right(ipc_space& names, mach_port_name_t name, port*& target) noexcept {
  entry* const held = MACH_PORT_VALID(name) ? names.find(name) : nullptr;
  if (!held) return KERN_INVALID_NAME;
  if (convert_if_dead(names, name, *held) || (held->type & MACH_PORT_TYPE_SEND) == 0) {
    return KERN_INVALID_RIGHT;
  }
  target = &port_of(*held);
  return KERN_SUCCESS;
}

kern_return_t find_receive_right(ipc_space& names, mach_port_name_t name, port*& target) noexcept {
  const entry* const held = MACH_PORT_VALID(name) ? names.find(name) : nullptr;
  if (!held) return KERN_INVALID_NAME;
  if ((held->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  target = &port_of(*held);
  return KERN_SUCCESS;
}

void become_dead(entry& held, bool notified) noexcept {
  held.request = 0;
  if (notified && held.urefs < max_urefs) ++held.urefs;
  held.target = nullptr;
  held.type = MACH_PORT_TYPE_DEAD_NAME;
}

void drop_dead(ipc_space& names, mach_port_name_t name, entry& held,
               mach_port_urefs_t references) noexcept {
  if (held.urefs == max_urefs && references != max_urefs) return;
  if (held.urefs > references) {
    held.urefs -= references;
  } else {
    names.free(name, held);
  }
}

void detach_entry(const right_context& context, mach_port_name_t name, entry& held) noexcept {
  port& target = port_of(held);
  port* notify = nullptr;
  if (held.request != 0) notify = target.requests.remove(std::exchange(held.request, 0));
  held.target = nullptr;
  context.names.free(name, held);
  if (notify) context.deferred.add(deferred_notifications::kind::port_deleted, notify, name);
}

mach_port_type_t type_of(const name_request& request) noexcept {
  if (!request.notify) return MACH_PORT_TYPE_NONE;
  mach_port_type_t type = MACH_PORT_TYPE_DNREQUEST;
  if (request.send_possible) {
    type |= MACH_PORT_TYPE_SPREQUEST;
    if (!request.armed) type |= MACH_PORT_TYPE_SPREQUEST_DELAYED;
  }
  return type;
}

mach_port_type_t type_of(const entry& held) noexcept {
  if ((held.type & MACH_PORT_TYPE_PORT_RIGHTS) == 0) return held.type;
  port& target = port_of(held);
  const std::lock_guard hold(target.lock);
  if (!target.active) return MACH_PORT_TYPE_DEAD_NAME;
  return held.request == 0 ? held.type : held.type | type_of(target.requests[held.request]);
}

}  // namespace kedge::mach::kernel
