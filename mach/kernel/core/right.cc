#include "kedge/mach/kernel/core/right.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/port_set.h"

namespace kedge::mach::kernel {
namespace {

port& port_of(const entry& found) noexcept {
  return static_cast<port&>(*found.target);
}

// Cancels the entry's request and returns its send-once right, if it has one. The port is locked.
port* cancel_request(entry& found) noexcept {
  if (found.request == 0) return nullptr;
  port& target = port_of(found);
  return target.requests.remove(std::exchange(found.request, 0));
}

void owe_deleted(port* notify, mach_port_name_t name, owed& then) {
  if (notify) then.add(owed::kind::port_deleted, notify, name);
}

// One send right less. The port is locked.
void drop_send_count(port& target, owed& then) {
  if (--target.send_rights == 0 && target.no_senders) {
    then.add(owed::kind::no_senders, std::exchange(target.no_senders, nullptr),
             target.make_send_count);
  }
}

void free_entry(space& in, mach_port_name_t name, entry& found) noexcept {
  object* target = found.target;
  in.free(name, found);
  if (target) target->release();
}

// A dead name remains, with the references, and one more for the notification. The port is locked.
void become_dead(entry& found, bool told) noexcept {
  found.request = 0;
  if (told && found.urefs < max_urefs) ++found.urefs;
  found.target = nullptr;
  found.type = MACH_PORT_TYPE_DEAD_NAME;
}

// Takes the receive right out of its entry to destroy it. The port is locked; afterwards it is not,
// and `then` destroys it.
void remove_receive(space& in, mach_port_name_t name, entry& found, owed& then,
                    deferred_work& after) {
  port& target = port_of(found);
  port* deleted = nullptr;
  clear_receiver(target, true, after);
  if (found.type & MACH_PORT_TYPE_SEND) {
    if (target.port_destroyed) {
      // It is not destroyed, but travels on in a notification: the send rights stay good.
      found.type = MACH_PORT_TYPE_SEND;
      found.had_receive = true;
      target.retain();
      in.remember_send(target, name);
    } else {
      --target.send_rights;
      // Here Darwin does not look at whether the request has been answered already.
      become_dead(found, found.request != 0);
      found.had_receive = true;
    }
  } else {
    deleted = cancel_request(found);
    found.target = nullptr;
    in.free(name, found);
  }
  target.lock.unlock();
  then.add(owed::kind::end_port, &target);
  owe_deleted(deleted, name, then);
}

// One user reference less of a send right. The port is locked and alive; afterwards it is not
// locked.
void drop_send(space& in, mach_port_name_t name, entry& found, mach_port_urefs_t references,
               owed& then) {
  port& target = port_of(found);
  if (found.urefs == max_urefs && references != max_urefs) {
    target.lock.unlock();
    return;
  }
  if (found.urefs > references) {
    found.urefs -= references;
    target.lock.unlock();
    return;
  }
  drop_send_count(target, then);
  if (found.type & MACH_PORT_TYPE_RECEIVE) {
    found.type = MACH_PORT_TYPE_RECEIVE;
    found.urefs = 0;
    target.lock.unlock();
    return;
  }
  port* deleted = cancel_request(found);
  in.forget_send(target, name);
  target.lock.unlock();
  owe_deleted(deleted, name, then);
  free_entry(in, name, found);
}

// Releases a send-once right. The port is locked and alive; afterwards it is not locked. The
// entry's reference and the right go to the notification.
void drop_send_once(space& in, mach_port_name_t name, entry& found, owed& then) {
  port& target = port_of(found);
  port* deleted = cancel_request(found);
  target.lock.unlock();
  found.target = nullptr;
  in.free(name, found);
  then.add(owed::kind::send_once, &target);
  owe_deleted(deleted, name, then);
}

kern_return_t refuse(guard_violation& guard, std::uint32_t code, mach_port_name_t name,
                     kern_return_t result) noexcept {
  guard = {code, name, 0};
  return result;
}

kern_return_t refuse_right(guard_violation& guard, mach_port_name_t name) noexcept {
  return refuse(guard, kGUARD_EXC_INVALID_RIGHT, name, KERN_INVALID_RIGHT);
}

kern_return_t refuse_value(guard_violation& guard, mach_port_name_t name) noexcept {
  return refuse(guard, kGUARD_EXC_INVALID_VALUE, name, KERN_INVALID_VALUE);
}

kern_return_t drop_dead(space& in, mach_port_name_t name, entry& found,
                        mach_port_urefs_t references) noexcept {
  if (found.urefs == max_urefs && references != max_urefs) return KERN_SUCCESS;
  if (found.urefs > references) {
    found.urefs -= references;
  } else {
    in.free(name, found);
  }
  return KERN_SUCCESS;
}

// A delta that no number of references can take.
bool is_beyond_urefs(mach_port_delta_t delta) noexcept {
  return delta > std::int64_t{max_urefs} || delta < -std::int64_t{max_urefs};
}

void end_set(space& in, mach_port_name_t name, entry& found, owed& then) {
  object* set = std::exchange(found.target, nullptr);
  in.free(name, found);
  then.add(owed::kind::end_set, set);
}

}  // namespace

void owed::settle_all(deferred_work& after) noexcept {
  const auto pay = [&after](const debt& each) {
    if (each.what == kind::end_set) {
      return destroy_port_set(ref<port_set>::adopt(static_cast<port_set*>(each.target)), after);
    }
    port* to = static_cast<port*>(each.target);
    switch (each.what) {
      case kind::no_senders:
        notify_no_senders(to, each.word, after);
        break;
      case kind::port_deleted:
        notify_port_deleted(to, each.word, after);
        break;
      case kind::dead_name:
        notify_dead_name(to, each.word, after);
        break;
      case kind::send_possible:
        notify_send_possible(to, each.word, after);
        break;
      case kind::send_once:
        release_send_once_right(to, after);
        break;
      case kind::end_port:
        destroy_port(to, after);
        break;
      case kind::end_set:
        break;
    }
  };
  for (std::size_t index = 0; index < count_; ++index) pay(debts_[index]);
  count_ = 0;
}

bool lock_if_alive(space& in, mach_port_name_t name, entry& found) noexcept {
  port& target = port_of(found);
  target.lock.lock();
  if (target.active) return true;
  --(found.type == MACH_PORT_TYPE_SEND ? target.send_rights : target.send_once_rights);
  if (found.type == MACH_PORT_TYPE_SEND) {
    in.forget_send(target, name);
  } else {
    found.urefs = 1;
  }
  become_dead(found, found.request != 0 && target.requests[found.request].notify);
  target.lock.unlock();
  target.release();
  return false;
}

bool convert_if_dead(space& in, mach_port_name_t name, entry& found) noexcept {
  if (found.type == MACH_PORT_TYPE_DEAD_NAME) return true;
  if ((found.type & MACH_PORT_TYPE_SEND_RIGHTS) == 0 || (found.type & MACH_PORT_TYPE_RECEIVE)) {
    return false;
  }
  if (!lock_if_alive(in, name, found)) return true;
  port_of(found).lock.unlock();
  return false;
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

mach_port_type_t type_of(const entry& found) noexcept {
  mach_port_type_t type = found.type;
  if ((type & MACH_PORT_TYPE_PORT_RIGHTS) == 0) return type;
  port& target = port_of(found);
  target.lock.lock();
  if (!target.active) {
    type = MACH_PORT_TYPE_DEAD_NAME;
  } else if (found.request != 0) {
    type |= type_of(target.requests[found.request]);
  }
  target.lock.unlock();
  return type;
}

kern_return_t deallocate_right(space& in, mach_port_name_t name, entry& found, owed& then,
                               guard_violation& guard) {
  if (found.type == MACH_PORT_TYPE_PORT_SET) {
    end_set(in, name, found, then);
    return KERN_SUCCESS;
  }
  if (found.type == MACH_PORT_TYPE_RECEIVE) return refuse_right(guard, name);
  if (found.pinned && found.urefs == 1) return KERN_INVALID_CAPABILITY;
  if (found.type == MACH_PORT_TYPE_DEAD_NAME || !lock_if_alive(in, name, found)) {
    return drop_dead(in, name, found, 1);
  }
  if (found.type & MACH_PORT_TYPE_SEND) {
    drop_send(in, name, found, 1, then);
  } else {
    drop_send_once(in, name, found, then);
  }
  return KERN_SUCCESS;
}

void terminate_rights(space& in, mach_port_name_t name, entry& found, owed& then,
                      deferred_work& after) {
  found.pinned = false;
  if (found.type == MACH_PORT_TYPE_PORT_SET) return end_set(in, name, found, then);
  if (found.type == MACH_PORT_TYPE_DEAD_NAME || !lock_if_alive(in, name, found)) {
    return in.free(name, found);
  }
  port& target = port_of(found);
  if (found.type == MACH_PORT_TYPE_SEND_ONCE) return drop_send_once(in, name, found, then);
  if ((found.type & MACH_PORT_TYPE_RECEIVE) == 0) {
    found.urefs = 1;
    return drop_send(in, name, found, 1, then);
  }
  port* deleted = cancel_request(found);
  port* no_senders = nullptr;
  const mach_port_mscount_t count = target.make_send_count;
  if ((found.type & MACH_PORT_TYPE_SEND) && --target.send_rights == 0) {
    no_senders = std::exchange(target.no_senders, nullptr);
  }
  clear_receiver(target, true, after);
  target.lock.unlock();
  found.target = nullptr;
  in.free(name, found);
  then.add(owed::kind::end_port, &target);
  if (no_senders) then.add(owed::kind::no_senders, no_senders, count);
  owe_deleted(deleted, name, then);
}

kern_return_t destroy_rights(space& in, mach_port_name_t name, entry& found, owed& then,
                             guard_violation& guard, deferred_work& after) {
  if (found.type & MACH_PORT_TYPE_RECEIVE) {
    port& target = port_of(found);
    target.lock.lock();
    const bool guarded =
        target.guarded && target.context != 0;  // it is destroyed with a guard of 0
    const mach_port_context_t context = target.context;
    target.lock.unlock();
    if (guarded) {
      guard = {kGUARD_EXC_DESTROY, name, context};
      return KERN_INVALID_RIGHT;
    }
  }
  if (found.pinned) return KERN_INVALID_CAPABILITY;
  terminate_rights(in, name, found, then, after);
  return KERN_SUCCESS;
}

kern_return_t change_refs(space& in, mach_port_name_t name, entry& found, mach_port_right_t right,
                          mach_port_delta_t delta, owed& then, guard_violation& guard,
                          deferred_work& after) {
  switch (right) {
    case MACH_PORT_RIGHT_PORT_SET:
      if (found.type != MACH_PORT_TYPE_PORT_SET) return refuse_right(guard, name);
      if (delta == 0) return KERN_SUCCESS;
      if (delta != -1) return refuse_value(guard, name);
      end_set(in, name, found, then);
      return KERN_SUCCESS;

    case MACH_PORT_RIGHT_RECEIVE: {
      if ((found.type & MACH_PORT_TYPE_RECEIVE) == 0) {
        return found.had_receive ? KERN_INVALID_RIGHT : refuse_right(guard, name);
      }
      if (delta == 0) return KERN_SUCCESS;
      if (delta != -1) return refuse_value(guard, name);
      port& target = port_of(found);
      target.lock.lock();
      if (target.guarded) {
        guard = {after.kernel.profile().tells_mod_refs() ? kGUARD_EXC_MOD_REFS : kGUARD_EXC_DESTROY,
                 name, target.context};
        target.lock.unlock();
        return KERN_INVALID_RIGHT;
      }
      remove_receive(in, name, found, then, after);
      return KERN_SUCCESS;
    }

    case MACH_PORT_RIGHT_SEND_ONCE: {
      if (found.type != MACH_PORT_TYPE_SEND_ONCE) return KERN_INVALID_RIGHT;
      if (convert_if_dead(in, name, found)) return refuse_right(guard, name);
      if (delta == 0) return KERN_SUCCESS;
      if (delta != -1) return refuse_value(guard, name);
      if (!lock_if_alive(in, name, found)) return refuse_right(guard, name);
      drop_send_once(in, name, found, then);
      return KERN_SUCCESS;
    }

    case MACH_PORT_RIGHT_DEAD_NAME: {
      if (!convert_if_dead(in, name, found)) return refuse_right(guard, name);
      if (is_beyond_urefs(delta)) return refuse_value(guard, name);
      if (found.urefs == max_urefs && delta != -std::int64_t{max_urefs}) return KERN_SUCCESS;
      if (delta >= 0) {
        found.urefs = static_cast<mach_port_urefs_t>(
            std::min<std::int64_t>(std::int64_t{found.urefs} + delta, max_urefs));
        return KERN_SUCCESS;
      }
      if (-std::int64_t{delta} > std::int64_t{found.urefs}) return refuse_value(guard, name);
      return drop_dead(in, name, found, static_cast<mach_port_urefs_t>(-std::int64_t{delta}));
    }

    case MACH_PORT_RIGHT_SEND: {
      if ((found.type & MACH_PORT_TYPE_SEND) == 0) {
        // Dead is near enough; so is a receive right to which one send right is to be added.
        const bool near = found.type == MACH_PORT_TYPE_DEAD_NAME ||
                          ((found.type & MACH_PORT_TYPE_RECEIVE) && delta == 1);
        return near ? KERN_INVALID_RIGHT : refuse_right(guard, name);
      }
      if (convert_if_dead(in, name, found)) return KERN_INVALID_RIGHT;
      if (is_beyond_urefs(delta)) return refuse_value(guard, name);
      if (found.urefs == max_urefs && delta != -std::int64_t{max_urefs}) return KERN_SUCCESS;
      if (delta >= 0) {
        found.urefs = static_cast<mach_port_urefs_t>(
            std::min<std::int64_t>(std::int64_t{found.urefs} + delta, max_urefs));
        return KERN_SUCCESS;
      }
      const std::int64_t references = -std::int64_t{delta};
      if (references > std::int64_t{found.urefs}) return refuse_value(guard, name);
      if (found.pinned && references == std::int64_t{found.urefs}) return KERN_INVALID_CAPABILITY;
      if (!lock_if_alive(in, name, found)) return KERN_INVALID_RIGHT;
      drop_send(in, name, found, static_cast<mach_port_urefs_t>(references), then);
      return KERN_SUCCESS;
    }

    default:
      return KERN_INVALID_RIGHT;
  }
}

kern_return_t destruct_receive(space& in, mach_port_name_t name, entry& found,
                               mach_port_delta_t send_delta, mach_port_context_t context,
                               owed& then, guard_violation& guard, deferred_work& after) {
  if ((found.type & MACH_PORT_TYPE_RECEIVE) == 0) {
    return found.had_receive ? KERN_INVALID_RIGHT : refuse_right(guard, name);
  }
  if (send_delta != 0 && (found.type & MACH_PORT_TYPE_SEND) == 0) return refuse_right(guard, name);
  if (send_delta > 0) return refuse_value(guard, name);
  port& target = port_of(found);
  target.lock.lock();
  if (target.guarded && target.context != context) {
    guard = {kGUARD_EXC_DESTROY, name, target.context};
    target.lock.unlock();
    return KERN_INVALID_ARGUMENT;
  }
  if (-std::int64_t{send_delta} > std::int64_t{found.urefs}) {
    target.lock.unlock();
    return refuse_value(guard, name);
  }
  if (send_delta != 0) {
    drop_send(in, name, found, static_cast<mach_port_urefs_t>(-std::int64_t{send_delta}), then);
    target.lock.lock();
  }
  remove_receive(in, name, found, then, after);
  return KERN_SUCCESS;
}

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

bool may_copy_in(const entry& found, mach_msg_type_name_t disposition) noexcept {
  mach_port_type_t wanted = MACH_PORT_TYPE_NONE;
  switch (disposition) {
    case MACH_MSG_TYPE_MAKE_SEND:
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
    case MACH_MSG_TYPE_MOVE_RECEIVE:
      return (found.type & MACH_PORT_TYPE_RECEIVE) != 0;
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
  if (found.type & wanted) return true;
  // Of a dead port any send right is a dead name.
  if ((found.type & MACH_PORT_TYPE_SEND_RIGHTS) == 0) return false;
  port& target = port_of(found);
  const std::lock_guard hold(target.lock);
  return !target.active;
}

namespace {

kern_return_t copy_in_dead(space& in, mach_port_name_t name, entry& found,
                           mach_msg_type_name_t disposition, purpose use,
                           carried_right& taken) noexcept {
  if (use == purpose::destination) return KERN_INVALID_CAPABILITY;
  if (disposition != MACH_MSG_TYPE_COPY_SEND) drop_dead(in, name, found, 1);
  taken = {nullptr, static_cast<std::uint8_t>(arrives_as(disposition)), true};
  return KERN_SUCCESS;
}

// The port is locked; afterwards it is not.
void move_send_in(space& in, mach_port_name_t name, entry& found, owed& then) {
  port& target = port_of(found);
  if (found.urefs > 1) {
    if (found.urefs < max_urefs) --found.urefs;
    ++target.send_rights;
    target.retain();
    target.lock.unlock();
    return;
  }
  if (found.type & MACH_PORT_TYPE_RECEIVE) {
    found.type = MACH_PORT_TYPE_RECEIVE;
    found.urefs = 0;
    target.retain();
    target.lock.unlock();
    return;
  }
  // The entry's reference goes along.
  port* deleted = cancel_request(found);
  in.forget_send(target, name);
  target.lock.unlock();
  found.target = nullptr;
  in.free(name, found);
  owe_deleted(deleted, name, then);
}

// The port is locked.
bool is_guarded_as(const port& target,
                   const mach_msg_guarded_port_descriptor_t& descriptor) noexcept {
  if (target.guarded) return target.context == descriptor.context;
  return (descriptor.flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND) && descriptor.context == 0;
}

// The port is locked; afterwards it is not.
kern_return_t move_receive_in(space& in, mach_port_name_t name, entry& found, owed& then,
                              guard_violation& guard, deferred_work& after,
                              const mach_msg_guarded_port_descriptor_t* guarded) {
  port& target = port_of(found);
  if (target.immovable || target.reply) {
    target.lock.unlock();
    guard = {kGUARD_EXC_IMMOVABLE, name, 0};
    return KERN_INVALID_CAPABILITY;
  }
  if (guarded && !is_guarded_as(target, *guarded)) {
    guard = {kGUARD_EXC_INCORRECT_GUARD, name, target.context};
    target.lock.unlock();
    return KERN_INVALID_ARGUMENT;
  }
  clear_receiver(target, false, after);
  if (found.type & MACH_PORT_TYPE_SEND) {
    found.type = MACH_PORT_TYPE_SEND;
    found.had_receive = true;
    target.retain();
    in.remember_send(target, name);
    target.lock.unlock();
    return KERN_SUCCESS;
  }
  port* deleted = cancel_request(found);
  target.lock.unlock();
  found.target = nullptr;
  in.free(name, found);
  owe_deleted(deleted, name, then);
  return KERN_SUCCESS;
}

// The guard exception that tells that the port's rights are not for this; 0: they are. A receive
// right is looked at when it is moved. The port is locked.
std::uint32_t misuse(const port& target, mach_msg_type_name_t disposition, purpose use) noexcept {
  const bool makes_once = disposition == MACH_MSG_TYPE_MAKE_SEND_ONCE;
  const bool moves_once = disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  const bool makes = makes_once || disposition == MACH_MSG_TYPE_MAKE_SEND;
  if (target.reply && disposition != MACH_MSG_TYPE_MOVE_RECEIVE &&
      !(makes_once && use != purpose::carrying) && !(moves_once && use == purpose::destination)) {
    return kGUARD_EXC_INVALID_RIGHT;
  }
  if (target.immovable_send && !makes && disposition != MACH_MSG_TYPE_MOVE_RECEIVE &&
      use != purpose::destination) {
    return kGUARD_EXC_IMMOVABLE;
  }
  return 0;
}

}  // namespace

kern_return_t copy_in(space& in, mach_port_name_t name, entry& found,
                      mach_msg_type_name_t disposition, purpose use, carried_right& taken,
                      owed& then, guard_violation& guard, deferred_work& after,
                      const mach_msg_guarded_port_descriptor_t* guarded) {
  if (!may_copy_in(found, disposition)) return KERN_INVALID_RIGHT;
  if (found.type == MACH_PORT_TYPE_DEAD_NAME) {
    return copy_in_dead(in, name, found, disposition, use, taken);
  }
  port& target = port_of(found);
  target.lock.lock();
  const bool passes = use == purpose::destination && disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE &&
                      found.type == MACH_PORT_TYPE_SEND_ONCE && found.request == 0;
  if (!target.active && !passes) {
    target.lock.unlock();
    convert_if_dead(in, name, found);
    return copy_in_dead(in, name, found, disposition, use, taken);
  }
  if (const std::uint32_t code = misuse(target, disposition, use); code != 0) [[unlikely]] {
    target.lock.unlock();
    guard = {code, name, 0};
    return KERN_INVALID_CAPABILITY;
  }
  taken = {&target, static_cast<std::uint8_t>(arrives_as(disposition)), false};
  switch (disposition) {
    case MACH_MSG_TYPE_MAKE_SEND:
      make_send_right(target);
      break;
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
      make_send_once_right(target);
      break;
    case MACH_MSG_TYPE_COPY_SEND:
      ++target.send_rights;
      target.retain();
      break;
    case MACH_MSG_TYPE_MOVE_SEND:
      if (found.pinned && found.urefs == 1) {
        target.lock.unlock();
        taken = {};
        return KERN_INVALID_CAPABILITY;
      }
      move_send_in(in, name, found, then);
      return KERN_SUCCESS;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE: {
      port* deleted = target.active ? cancel_request(found) : nullptr;
      target.lock.unlock();
      found.target = nullptr;
      in.free(name, found);
      owe_deleted(deleted, name, then);
      return KERN_SUCCESS;
    }
    default: {
      const kern_return_t result = move_receive_in(in, name, found, then, guard, after, guarded);
      if (result != KERN_SUCCESS) taken = {};
      return result;
    }
  }
  target.lock.unlock();
  return KERN_SUCCESS;
}

kern_return_t take_copy(space& from, mach_port_name_t name, carried_right& taken,
                        guard_violation& guard, deferred_work& after) {
  taken = {nullptr, MACH_MSG_TYPE_MOVE_SEND, name == MACH_PORT_DEAD};
  if (!MACH_PORT_VALID(name)) return KERN_SUCCESS;
  owed none;  // a copy takes nothing away
  const std::lock_guard hold(from.lock);
  entry* found = from.find(name);
  if (!found || copy_in(from, name, *found, MACH_MSG_TYPE_COPY_SEND, purpose::carrying, taken, none,
                        guard, after) != KERN_SUCCESS) {
    taken = {};
    return MACH_SEND_INVALID_RIGHT;
  }
  return KERN_SUCCESS;
}

namespace {

// A send right joins the entry. The port is locked.
void add_send(entry& found, port& target) noexcept {
  if (found.type & MACH_PORT_TYPE_SEND) {
    --target.send_rights;
    if (found.urefs < max_urefs) ++found.urefs;
  } else {
    found.type |= MACH_PORT_TYPE_SEND;
    found.urefs = 1;
  }
}

// A receive right arrives under `name`. The port is locked.
void settle_receive(space& in, entry& found, port& target, mach_port_name_t name) noexcept {
  if (found.type & MACH_PORT_TYPE_SEND) in.forget_send(target, name);
  found.type |= MACH_PORT_TYPE_RECEIVE;
  target.receiver = &in;
  target.receiver_name = name;
}

// Fills in a new entry; the right's reference becomes the entry's. The port is locked.
void fill(space& in, entry& made, carried_right& right, mach_port_name_t name) {
  port& target = *right.target;
  made.target = &target;
  switch (right.disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
      made.type = MACH_PORT_TYPE_SEND;
      made.urefs = 1;
      in.remember_send(target, name);
      break;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      made.type = MACH_PORT_TYPE_SEND_ONCE;
      made.urefs = 1;
      break;
    default:
      settle_receive(in, made, target, name);
      break;
  }
}

// Lets the right join the entry that the port has under `name` already. The port is locked; the
// right's reference goes.
void join(space& in, entry& found, carried_right& right, mach_port_name_t name) noexcept {
  port& target = *right.target;
  if (right.disposition == MACH_MSG_TYPE_MOVE_SEND) {
    add_send(found, target);
  } else {
    settle_receive(in, found, target, name);
  }
}

// The port is locked.
mach_port_name_t known_name(const space& in, const port& target) noexcept {
  return target.receiver == &in ? target.receiver_name : in.find_send(target);
}

}  // namespace

kern_return_t copy_out(space& in, carried_right& right, mach_port_name_t& name) {
  port* target = right.target;
  if (!target) {
    name = right.dead ? MACH_PORT_DEAD : MACH_PORT_NULL;
    return KERN_SUCCESS;
  }
  const bool receive = right.disposition == MACH_MSG_TYPE_MOVE_RECEIVE;
  const bool once = right.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  target->lock.lock();
  if (!target->active) {
    if (!receive) --(once ? target->send_once_rights : target->send_rights);
    target->lock.unlock();
    target->release();
    right = {nullptr, right.disposition, true};
    name = MACH_PORT_DEAD;
    return KERN_SUCCESS;
  }
  name = once ? MACH_PORT_NULL : known_name(in, *target);
  if (name != MACH_PORT_NULL) {
    join(in, *in.find(name), right, name);
    target->lock.unlock();
    target->release();
  } else {
    entry* made = nullptr;
    name = in.active ? in.make(made) : MACH_PORT_NULL;
    if (name == MACH_PORT_NULL) {
      target->lock.unlock();
      return KERN_NO_SPACE;
    }
    fill(in, *made, right, name);
    target->lock.unlock();
  }
  right.target = nullptr;
  return KERN_SUCCESS;
}

kern_return_t copy_out_at(space& in, carried_right& right, mach_port_name_t name) {
  port& target = *right.target;
  const bool once = right.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  target.lock.lock();
  if (!target.active) {
    target.lock.unlock();
    return KERN_INVALID_CAPABILITY;
  }
  const mach_port_name_t known = once ? MACH_PORT_NULL : known_name(in, target);
  entry* found = in.find(name);
  if (known != MACH_PORT_NULL) {
    const bool same = known == name;
    if (same) join(in, *found, right, name);
    target.lock.unlock();
    if (!same) return KERN_RIGHT_EXISTS;
    target.release();
    right.target = nullptr;
    return KERN_SUCCESS;
  }
  if (found || !in.make_at(name, found)) {
    target.lock.unlock();
    return in.is_used(name) ? KERN_NAME_EXISTS : KERN_NO_SPACE;
  }
  fill(in, *found, right, name);
  target.lock.unlock();
  right.target = nullptr;
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
