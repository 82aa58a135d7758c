#include "kedge/mach/kernel/core/calls/notification_request.h"

#include <mach/notify.h>

#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

// The receive right's own events. The space is locked.
kern_return_t request_of_receiver(mach_port_name_t name, entry& found, mach_msg_id_t id,
                                  mach_port_mscount_t sync, port* notify, port*& previous,
                                  guard_violation& guard, owed& then) {
  port& at = static_cast<port&>(*found.target);
  const std::lock_guard hold(at.lock);
  if (at.reply) return KERN_INVALID_RIGHT;
  if (id == MACH_NOTIFY_PORT_DESTROYED) {
    if (at.port_destroyed) {
      guard = {kGUARD_EXC_KERN_FAILURE, name, 0};
      return KERN_FAILURE;
    }
    at.port_destroyed = notify;
    return KERN_SUCCESS;
  }
  previous = std::exchange(at.no_senders, nullptr);
  if (notify && at.send_rights == 0 && sync <= at.make_send_count) {
    then.add(owed::kind::no_senders, notify, at.make_send_count);
  } else {
    at.no_senders = notify;
  }
  return KERN_SUCCESS;
}

// The one slot of a name, for its death or for room in the queue (Darwin: ipc_right_request_alloc).
// The space is locked.
kern_return_t request_of_name(space& in, mach_port_name_t name, entry& found, bool send_possible,
                              bool immediate, bool fires_if_dead, port* notify, port*& previous,
                              owed& then) {
  if (!notify && found.request == 0) return KERN_SUCCESS;
  if ((found.type & MACH_PORT_TYPE_PORT_RIGHTS) && lock_if_alive(in, name, found)) {
    port& at = static_cast<port&>(*found.target);
    const std::lock_guard hold(at.lock, std::adopt_lock);
    if (found.request != 0) previous = at.requests.remove(std::exchange(found.request, 0));
    if (!notify) return KERN_SUCCESS;
    const bool room =
        found.type == MACH_PORT_TYPE_SEND_ONCE || at.serves != kernel_object::none || !at.full();
    if (send_possible && immediate && room) {
      then.add(owed::kind::send_possible, notify, name);
      return KERN_SUCCESS;
    }
    found.request = at.requests.add(notify, name, send_possible, send_possible && immediate);
    if (send_possible && immediate) at.send_possible_armed = true;
    return KERN_SUCCESS;
  }
  if (found.type != MACH_PORT_TYPE_DEAD_NAME) return KERN_INVALID_RIGHT;
  if (!notify || !fires_if_dead) return KERN_INVALID_ARGUMENT;
  if (found.urefs < max_urefs) ++found.urefs;
  then.add(owed::kind::dead_name, notify, name);
  return KERN_SUCCESS;
}

}  // namespace

kern_return_t request_notification_at(space& in, mach_port_name_t name, mach_msg_id_t id,
                                      mach_port_mscount_t sync, port* notify, port*& previous,
                                      profile answers, guard_violation& guard, owed& then) {
  const bool of_receiver = id == MACH_NOTIFY_PORT_DESTROYED || id == MACH_NOTIFY_NO_SENDERS;
  const bool of_name = id == MACH_NOTIFY_DEAD_NAME || id == MACH_NOTIFY_SEND_POSSIBLE;
  if (!of_receiver && !of_name) return KERN_INVALID_VALUE;
  if (id == MACH_NOTIFY_PORT_DESTROYED && sync != 0) return KERN_INVALID_VALUE;
  if (!MACH_PORT_VALID(name)) return of_receiver ? KERN_INVALID_RIGHT : KERN_INVALID_ARGUMENT;

  const std::lock_guard hold(in.lock);
  entry* found = in.find(name);
  if (!found) return KERN_INVALID_NAME;
  if (of_name) {
    const bool send_possible = id == MACH_NOTIFY_SEND_POSSIBLE;
    const bool fires_if_dead = send_possible || (sync != 0 && answers.fires_for_dead_names());
    return request_of_name(in, name, *found, send_possible, sync != 0, fires_if_dead, notify,
                           previous, then);
  }
  if ((found->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  return request_of_receiver(name, *found, id, sync, notify, previous, guard, then);
}

}  // namespace kedge::mach::kernel
