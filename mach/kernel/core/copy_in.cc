// Takes rights out of a space (Darwin: ipc_right_copyin, ipc_right_copyin_check_locked).
#include "kedge/mach/kernel/core/copy_in.h"

#include <mutex>
#include <utility>

namespace kedge::mach::kernel {
namespace {

// A right to a dead port.
kern_return_t copy_in_dead(const right_context& context, mach_port_name_t name, entry& held,
                           const copy_in_mode& mode, carried_right& taken) noexcept {
  if (mode.use == copy_in_use::destination) return KERN_INVALID_CAPABILITY;
  if (mode.disposition != MACH_MSG_TYPE_COPY_SEND) drop_dead(context.names, name, held, 1);
  taken = {nullptr, static_cast<std::uint8_t>(arrives_as(mode.disposition)), true};
  return KERN_SUCCESS;
}

// The entry's reference to the port moves with the last send right. Requires the port lock.
void move_send(const right_context& context, mach_port_name_t name, entry& held, port& target) {
  if (keeps_name(held)) return move_send_reference(held, target);
  context.names.forget_send(target, name);
  detach_entry(context, name, held);
}

// Requires the port lock.
bool is_guarded_as(const port& target,
                   const mach_msg_guarded_port_descriptor_t& descriptor) noexcept {
  if (target.guarded) return target.context == descriptor.context;
  return (descriptor.flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND) && descriptor.context == 0;
}

// The entry's reference to the port moves with the receive right, unless a send right stays.
// Requires the port lock.
kern_return_t move_receive(const right_context& context, mach_port_name_t name, entry& held,
                           port& target, const copy_in_mode& mode) {
  if (target.immovable || target.reply) {
    return context.refuse(kGUARD_EXC_IMMOVABLE, name, KERN_INVALID_CAPABILITY);
  }
  if (mode.guarded && !is_guarded_as(target, *mode.guarded)) {
    return context.refuse(kGUARD_EXC_INCORRECT_GUARD, name, KERN_INVALID_ARGUMENT, target.context);
  }
  clear_receiver(target, false, context.cleanup);
  if (held.type & MACH_PORT_TYPE_SEND) {
    held.type = MACH_PORT_TYPE_SEND;
    held.had_receive = true;
    target.retain();
    context.names.remember_send(target, name);
  } else {
    detach_entry(context, name, held);
  }
  return KERN_SUCCESS;
}

// Takes the right that the entry holds. Requires the port lock.
kern_return_t take_right(const right_context& context, mach_port_name_t name, entry& held,
                         port& target, const copy_in_mode& mode) {
  switch (mode.disposition) {
    case MACH_MSG_TYPE_MAKE_SEND:
      make_send_right(target);
      return KERN_SUCCESS;
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
      make_send_once_right(target);
      return KERN_SUCCESS;
    case MACH_MSG_TYPE_COPY_SEND:
      copy_send_right(target);
      return KERN_SUCCESS;
    case MACH_MSG_TYPE_MOVE_SEND:
      if (held.pinned && held.urefs == 1) return KERN_INVALID_CAPABILITY;
      move_send(context, name, held, target);
      return KERN_SUCCESS;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      detach_entry(context, name, held);
      return KERN_SUCCESS;
    default:
      return move_receive(context, name, held, target, mode);
  }
}

}  // namespace

mach_msg_type_name_t arrives_as(mach_msg_type_name_t disposition) noexcept {
  switch (disposition) {
    case MACH_MSG_TYPE_MOVE_RECEIVE:
      return MACH_MSG_TYPE_MOVE_RECEIVE;
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_COPY_SEND:
    case MACH_MSG_TYPE_MAKE_SEND:
      return MACH_MSG_TYPE_MOVE_SEND;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
      return MACH_MSG_TYPE_MOVE_SEND_ONCE;
    default:
      return MACH_MSG_TYPE_PORT_NONE;
  }
}

bool may_copy_in(const entry& held, mach_msg_type_name_t disposition) noexcept {
  mach_port_type_t wanted = MACH_PORT_TYPE_NONE;
  switch (disposition) {
    case MACH_MSG_TYPE_MAKE_SEND:
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
    case MACH_MSG_TYPE_MOVE_RECEIVE:
      return (held.type & MACH_PORT_TYPE_RECEIVE) != 0;
    case MACH_MSG_TYPE_COPY_SEND:
    case MACH_MSG_TYPE_MOVE_SEND:
      wanted = MACH_PORT_TYPE_SEND | MACH_PORT_TYPE_DEAD_NAME;
      break;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      wanted = MACH_PORT_TYPE_SEND_ONCE | MACH_PORT_TYPE_DEAD_NAME;
      break;
    default:
      return false;
  }
  if (held.type & wanted) return true;
  // Any send right to a dead port counts as a dead name.
  if ((held.type & MACH_PORT_TYPE_SEND_RIGHTS) == 0) return false;
  port& target = port_of(held);
  const std::lock_guard hold(target.lock);
  return !target.active;
}

kern_return_t copy_in(const right_context& context, mach_port_name_t name, entry& held,
                      const copy_in_mode& mode, carried_right& taken) {
  if (!may_copy_in(held, mode.disposition)) return KERN_INVALID_RIGHT;
  if (held.type == MACH_PORT_TYPE_DEAD_NAME) {
    return copy_in_dead(context, name, held, mode, taken);
  }
  port& target = port_of(held);
  object_lock locked(target.lock);
  const bool passes_dead = mode.use == copy_in_use::destination &&
                           mode.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE &&
                           held.type == MACH_PORT_TYPE_SEND_ONCE && held.request == 0;
  if (!target.active && !passes_dead) {
    locked.unlock();
    convert_if_dead(context.names, name, held);
    return copy_in_dead(context, name, held, mode, taken);
  }
  const std::uint32_t code = guard_code_for(target, mode.disposition, mode.use);
  if (code != 0) [[unlikely]]
    return context.refuse(code, name, KERN_INVALID_CAPABILITY);
  const kern_return_t result = take_right(context, name, held, target, mode);
  if (result == KERN_SUCCESS) {
    taken = {&target, static_cast<std::uint8_t>(arrives_as(mode.disposition)), false};
  }
  return result;
}

kern_return_t take_copy(ipc_space& names, mach_port_name_t name, carried_right& taken,
                        guard_violation& guard, deferred_work& cleanup) {
  taken = {nullptr, MACH_MSG_TYPE_MOVE_SEND, name == MACH_PORT_DEAD};
  if (!MACH_PORT_VALID(name)) return KERN_SUCCESS;
  deferred_notifications none;  // a copy releases nothing
  const std::lock_guard hold(names.lock);
  entry* const found = names.find(name);
  if (!found || copy_in({names, none, guard, cleanup}, name, *found, {MACH_MSG_TYPE_COPY_SEND},
                        taken) != KERN_SUCCESS) {
    taken = {};
    return MACH_SEND_INVALID_RIGHT;
  }
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
