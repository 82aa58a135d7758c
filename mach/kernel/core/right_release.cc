// mach_port_deallocate, _destroy, _mod_refs and _destruct, once the name is found (Darwin:
// ipc_right_dealloc, ipc_right_destroy, ipc_right_delta, ipc_right_destruct).
#include "kedge/mach/kernel/core/right_release.h"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/kernel.h"

namespace kedge::mach::kernel {
namespace {

using kind = deferred_notifications::kind;

kern_return_t refuse_right(const right_context& context, mach_port_name_t name) noexcept {
  return context.refuse(kGUARD_EXC_INVALID_RIGHT, name, KERN_INVALID_RIGHT);
}

kern_return_t refuse_value(const right_context& context, mach_port_name_t name) noexcept {
  return context.refuse(kGUARD_EXC_INVALID_VALUE, name, KERN_INVALID_VALUE);
}

// Removes the receive right from its entry. The port is destroyed when `context.deferred` is
// flushed. Requires the port lock. Releases it.
void drop_receive(const right_context& context, mach_port_name_t name, entry& held,
                  object_lock /*locked*/) {
  port& target = port_of(held);
  clear_receiver(target, true, context.cleanup);
  context.deferred.add(kind::destroy_port, &target);
  if ((held.type & MACH_PORT_TYPE_SEND) == 0) return detach_entry(context, name, held);
  if (target.port_destroyed) {
    // The port is not destroyed: it travels in a notification, and its send rights stay valid.
    held.type = MACH_PORT_TYPE_SEND;
    target.retain();
    context.names.remember_send(target, name);
  } else {
    --target.send_rights;
    // Darwin does not check here whether the request has been answered already.
    become_dead(held, held.request != 0);
  }
  held.had_receive = true;
}

// Drops user references of a send right, and the right with the last one. Requires the port lock,
// and a port that is alive. Releases the lock.
void drop_send(const right_context& context, mach_port_name_t name, entry& held,
               mach_port_urefs_t references, object_lock locked) {
  port& target = port_of(held);
  if (held.urefs == max_urefs && references != max_urefs) return;
  if (held.urefs > references) {
    held.urefs -= references;
    return;
  }
  if (--target.send_rights == 0 && target.no_senders) {
    context.deferred.add(kind::no_senders, std::exchange(target.no_senders, nullptr),
                         target.make_send_count);
  }
  if (held.type & MACH_PORT_TYPE_RECEIVE) {
    held.type = MACH_PORT_TYPE_RECEIVE;
    held.urefs = 0;
    return;
  }
  context.names.forget_send(target, name);
  detach_entry(context, name, held);
  locked.unlock();
  target.release();
}

// Releases a send-once right: the right and the entry's reference go to the send-once notification.
// Requires the port lock, and a port that is alive. Releases the lock.
void drop_send_once(const right_context& context, mach_port_name_t name, entry& held,
                    object_lock /*locked*/) {
  context.deferred.add(kind::send_once, &port_of(held));
  detach_entry(context, name, held);
}

void drop_set(const right_context& context, mach_port_name_t name, entry& held) {
  context.deferred.add(kind::destroy_set, std::exchange(held.target, nullptr));
  context.names.free(name, held);
}

// Applies `delta` to the user references of a send right or a dead name, but for a loss that may
// need the port. Returns the references to drop, or 0 if `result` is the answer.
mach_port_urefs_t references_to_drop(const right_context& context, mach_port_name_t name,
                                     entry& held, mach_port_delta_t delta, kern_return_t& result) {
  constexpr std::int64_t most = max_urefs;
  result = KERN_SUCCESS;
  if (delta > most || delta < -most) {
    result = refuse_value(context, name);
    return 0;
  }
  if (held.urefs == max_urefs && delta != -most) return 0;
  if (delta >= 0) {
    held.urefs = static_cast<mach_port_urefs_t>(std::min(std::int64_t{held.urefs} + delta, most));
    return 0;
  }
  const auto references = static_cast<mach_port_urefs_t>(-std::int64_t{delta});
  if (references <= held.urefs) return references;
  result = refuse_value(context, name);
  return 0;
}

kern_return_t change_send_refs(const right_context& context, mach_port_name_t name, entry& held,
                               mach_port_delta_t delta) {
  if ((held.type & MACH_PORT_TYPE_SEND) == 0) {
    // Darwin raises no guard exception for a dead name, nor for a receive right to which one send
    // right is to be added.
    const bool forgiven = held.type == MACH_PORT_TYPE_DEAD_NAME ||
                          ((held.type & MACH_PORT_TYPE_RECEIVE) && delta == 1);
    return forgiven ? KERN_INVALID_RIGHT : refuse_right(context, name);
  }
  if (convert_if_dead(context.names, name, held)) return KERN_INVALID_RIGHT;
  kern_return_t result = KERN_SUCCESS;
  const mach_port_urefs_t references = references_to_drop(context, name, held, delta, result);
  if (references == 0) return result;
  if (held.pinned && references == held.urefs) return KERN_INVALID_CAPABILITY;
  object_lock locked = lock_if_alive(context.names, name, held);
  if (!locked) return KERN_INVALID_RIGHT;
  drop_send(context, name, held, references, std::move(locked));
  return KERN_SUCCESS;
}

kern_return_t change_send_once_refs(const right_context& context, mach_port_name_t name,
                                    entry& held, mach_port_delta_t delta) {
  if (held.type != MACH_PORT_TYPE_SEND_ONCE) return KERN_INVALID_RIGHT;
  if (convert_if_dead(context.names, name, held)) return refuse_right(context, name);
  if (delta == 0) return KERN_SUCCESS;
  if (delta != -1) return refuse_value(context, name);
  object_lock locked = lock_if_alive(context.names, name, held);
  if (!locked) return refuse_right(context, name);
  drop_send_once(context, name, held, std::move(locked));
  return KERN_SUCCESS;
}

kern_return_t change_receive_refs(const right_context& context, mach_port_name_t name, entry& held,
                                  mach_port_delta_t delta) {
  if ((held.type & MACH_PORT_TYPE_RECEIVE) == 0) {
    return held.had_receive ? KERN_INVALID_RIGHT : refuse_right(context, name);
  }
  if (delta == 0) return KERN_SUCCESS;
  if (delta != -1) return refuse_value(context, name);
  port& target = port_of(held);
  object_lock locked(target.lock);
  if (target.guarded) {
    const std::uint32_t code = context.cleanup.owner.os_profile().has_mod_refs_code()
                                   ? kGUARD_EXC_MOD_REFS
                                   : kGUARD_EXC_DESTROY;
    return context.refuse(code, name, KERN_INVALID_RIGHT, target.context);
  }
  drop_receive(context, name, held, std::move(locked));
  return KERN_SUCCESS;
}

kern_return_t change_set_refs(const right_context& context, mach_port_name_t name, entry& held,
                              mach_port_delta_t delta) {
  if (held.type != MACH_PORT_TYPE_PORT_SET) return refuse_right(context, name);
  if (delta == 0) return KERN_SUCCESS;
  if (delta != -1) return refuse_value(context, name);
  drop_set(context, name, held);
  return KERN_SUCCESS;
}

kern_return_t change_dead_name_refs(const right_context& context, mach_port_name_t name,
                                    entry& held, mach_port_delta_t delta) {
  if (!convert_if_dead(context.names, name, held)) return refuse_right(context, name);
  kern_return_t result = KERN_SUCCESS;
  const mach_port_urefs_t references = references_to_drop(context, name, held, delta, result);
  if (references != 0) drop_dead(context.names, name, held, references);
  return result;
}

}  // namespace

kern_return_t deallocate_right(const right_context& context, mach_port_name_t name, entry& held) {
  if (held.type == MACH_PORT_TYPE_PORT_SET) {
    drop_set(context, name, held);
    return KERN_SUCCESS;
  }
  if (held.type == MACH_PORT_TYPE_RECEIVE) return refuse_right(context, name);
  if (held.pinned && held.urefs == 1) return KERN_INVALID_CAPABILITY;
  object_lock locked;
  if (held.type != MACH_PORT_TYPE_DEAD_NAME) locked = lock_if_alive(context.names, name, held);
  if (!locked) {
    drop_dead(context.names, name, held, 1);
  } else if (held.type & MACH_PORT_TYPE_SEND) {
    drop_send(context, name, held, 1, std::move(locked));
  } else {
    drop_send_once(context, name, held, std::move(locked));
  }
  return KERN_SUCCESS;
}

void terminate_rights(const right_context& context, mach_port_name_t name, entry& held) {
  held.pinned = false;
  if (held.type == MACH_PORT_TYPE_PORT_SET) return drop_set(context, name, held);
  object_lock locked;
  if (held.type != MACH_PORT_TYPE_DEAD_NAME) locked = lock_if_alive(context.names, name, held);
  if (!locked) return context.names.free(name, held);
  if (held.type == MACH_PORT_TYPE_SEND_ONCE) {
    return drop_send_once(context, name, held, std::move(locked));
  }
  if ((held.type & MACH_PORT_TYPE_RECEIVE) == 0) {
    held.urefs = 1;
    return drop_send(context, name, held, 1, std::move(locked));
  }
  port& target = port_of(held);
  port* no_senders = nullptr;
  const mach_port_mscount_t count = target.make_send_count;
  if ((held.type & MACH_PORT_TYPE_SEND) && --target.send_rights == 0) {
    no_senders = std::exchange(target.no_senders, nullptr);
  }
  clear_receiver(target, true, context.cleanup);
  context.deferred.add(kind::destroy_port, &target);
  if (no_senders) context.deferred.add(kind::no_senders, no_senders, count);
  detach_entry(context, name, held);
}

kern_return_t destroy_rights(const right_context& context, mach_port_name_t name, entry& held) {
  if (held.type & MACH_PORT_TYPE_RECEIVE) {
    port& target = port_of(held);
    const std::lock_guard hold(target.lock);
    // mach_port_destroy brings a guard of 0.
    if (target.guarded && target.context != 0) {
      return context.refuse(kGUARD_EXC_DESTROY, name, KERN_INVALID_RIGHT, target.context);
    }
  }
  if (held.pinned) return KERN_INVALID_CAPABILITY;
  terminate_rights(context, name, held);
  return KERN_SUCCESS;
}

kern_return_t change_refs(const right_context& context, mach_port_name_t name, entry& held,
                          mach_port_right_t right, mach_port_delta_t delta) {
  switch (right) {
    case MACH_PORT_RIGHT_SEND:
      return change_send_refs(context, name, held, delta);
    case MACH_PORT_RIGHT_SEND_ONCE:
      return change_send_once_refs(context, name, held, delta);
    case MACH_PORT_RIGHT_RECEIVE:
      return change_receive_refs(context, name, held, delta);
    case MACH_PORT_RIGHT_PORT_SET:
      return change_set_refs(context, name, held, delta);
    case MACH_PORT_RIGHT_DEAD_NAME:
      return change_dead_name_refs(context, name, held, delta);
    default:
      return KERN_INVALID_RIGHT;
  }
}

kern_return_t destruct_receive(const right_context& context, mach_port_name_t name, entry& held,
                               mach_port_delta_t send_delta, mach_port_context_t guard) {
  if ((held.type & MACH_PORT_TYPE_RECEIVE) == 0) {
    return held.had_receive ? KERN_INVALID_RIGHT : refuse_right(context, name);
  }
  if (send_delta != 0 && (held.type & MACH_PORT_TYPE_SEND) == 0) {
    return refuse_right(context, name);
  }
  if (send_delta > 0) return refuse_value(context, name);
  port& target = port_of(held);
  object_lock locked(target.lock);
  if (target.guarded && target.context != guard) {
    return context.refuse(kGUARD_EXC_DESTROY, name, KERN_INVALID_ARGUMENT, target.context);
  }
  const std::int64_t references = -std::int64_t{send_delta};
  if (references > std::int64_t{held.urefs}) return refuse_value(context, name);
  if (references != 0) {
    drop_send(context, name, held, static_cast<mach_port_urefs_t>(references), std::move(locked));
    locked = object_lock(target.lock);
  }
  drop_receive(context, name, held, std::move(locked));
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
