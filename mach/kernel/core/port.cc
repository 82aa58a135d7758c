// Delivery of messages to ports, and the end of ports and rights (Darwin: ipc_port.c,
// ipc_mqueue.c).
#include "kedge/mach/kernel/core/port.h"

#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/macos11_set_chain.h"
#include "kedge/mach/kernel/core/notification.h"

namespace kedge::mach::kernel {

void notify_watchers(watchers& all, watch_event event) noexcept {
  for (watch* each = all.front(); each;) {
    watch* const next = watchers::after(*each);
    if (event == watch_event::gone) all.remove(*each);
    each->changed(event);
    each = next;
  }
}

bool hand_over(waiters& queue, port& from, kmsg* message, deferred_work& cleanup) noexcept {
  while (pending_call* receiver = queue.pop_front()) {
    const mach_msg_size_t needed = message->size + REQUESTED_TRAILER_SIZE(receiver->option);
    if (needed > receiver->receive_size && (receiver->option & MACH_RCV_LARGE)) {
      receiver->needed_size = message->size;
      receiver->identity = from.receiver_name;
      complete(*receiver, MACH_RCV_TOO_LARGE, cleanup);
      continue;
    }
    stamp(*message, from);
    receiver->message = message;
    complete(*receiver, MACH_MSG_SUCCESS, cleanup);
    return true;
  }
  return false;
}

void leave_ready(port& empty) noexcept {
  for (membership* each = empty.sets.front(); each; each = member_sets::after(*each)) {
    if (is_stale(*each)) continue;
    const std::lock_guard hold(each->set->lock);
    if (each->ready.is_linked()) each->set->ready.remove(*each);
  }
}

namespace {

// Offers the message to the receivers of a set, or makes the port a ready member, and returns
// whether a receiver has got it. Requires the port lock.
bool offer_to_set(membership& link, kmsg* message, deferred_work& cleanup) noexcept {
  ipc_port_set& set = *link.set;
  const std::lock_guard hold(set.lock);
  if (hand_over(set.receivers, *link.member, message, cleanup)) return true;
  // Under the lock that found no receiver: a receiver that comes later finds the port ready and
  // waits for the port's lock.
  set.ready.push_back(link);
  notify_watchers(set.watches, watch_event::message);
  return false;
}

}  // namespace

bool post_to_waiters(port& to, kmsg* message, deferred_work& cleanup) noexcept {
  if (!to.receivers.empty() && hand_over(to.receivers, to, message, cleanup)) {
    to.queue().abort(*message);
    return false;
  }
  if (!to.sets.empty()) forget_only_stale(to);
  if (to.queue().peek()) {
    to.queue().commit(message);
    return false;
  }
  for (membership* each = to.sets.front(); each; each = member_sets::after(*each)) {
    if (is_stale(*each) || !offer_to_set(*each, message, cleanup)) continue;
    leave_ready(to);
    to.queue().abort(*message);
    return false;
  }
  to.queue().commit(message);
  if (!to.watches.empty()) notify_watchers(to.watches, watch_event::message);
  return true;
}

mach_port_name_t name_of_awakened(const port& of, const ipc_space& space) noexcept {
  if (of.receiver != &space) return MACH_PORT_NULL;
  if (!of.watches.empty()) return of.receiver_name;
  for (membership* each = of.sets.front(); each; each = member_sets::after(*each)) {
    if (!is_stale(*each)) return each->set->name;
  }
  return MACH_PORT_NULL;
}

void admit_senders(port& to, deferred_work& cleanup) noexcept {
  while (!to.senders.empty() && !to.full()) {
    pending_call& sender = *to.senders.front();
    kmsg* const message = sender.message;
    if (!to.queue().reserve(*message)) return;
    to.senders.remove(sender);
    sender.message = nullptr;
    post(to, message, cleanup);
    complete(sender, MACH_MSG_SUCCESS, cleanup);
  }
}

void clear_receiver(port& moving, bool to_be_destroyed, deferred_work& cleanup) noexcept {
  moving.receiver = nullptr;
  moving.receiver_name = MACH_PORT_NULL;
  moving.make_send_count = 0;
  moving.sequence = moving.sequence_shift = 0;
  moving.context = 0;
  moving.guarded = moving.strict_guard = moving.immovable = false;
  moving.temporary_owner = false;
  leave_all_sets(moving);
  complete_all(moving.receivers, to_be_destroyed ? MACH_RCV_PORT_DIED : MACH_RCV_PORT_CHANGED,
               cleanup);
  notify_watchers(moving.watches, watch_event::gone);
}

void destroy_port(port* dying, deferred_work& cleanup) noexcept {
  object_lock locked(dying->lock);
  if (port* const notify = std::exchange(dying->port_destroyed, nullptr)) {
    locked.unlock();
    cleanup.owner.rights_in_transit().unbind(*dying);
    return notify_port_destroyed(notify, dying, cleanup);
  }
  dying->active = false;
  while (kmsg* message = dying->queue().take()) cleanup.destroy_later(message);
  // A blocked sender destroys its message itself. To the sender the send was a success.
  complete_all(dying->senders, MACH_MSG_SUCCESS, cleanup);
  port* const no_senders = std::exchange(dying->no_senders, nullptr);
  locked.unlock();

  if (dying->served_object) dying->served_object->port_destroyed(cleanup);
  cleanup.owner.rights_in_transit().unbind(*dying);
  const bool messages_first = cleanup.owner.os_profile().destroys_messages_first();
  if (no_senders && !messages_first) release_send_once_right(no_senders, cleanup);
  cleanup.reap();
  if (no_senders && messages_first) release_send_once_right(no_senders, cleanup);
  // The table of a dead port does not change any more. Entries check there whether their request
  // was answered.
  for (std::uint32_t index = 1; index < dying->requests.size(); ++index) {
    const name_request& each = dying->requests[index];
    if (each.notify) notify_dead_name(each.notify, each.name, cleanup);
  }
  dying->release();
}

void release_send_right(port* target, deferred_work& cleanup) noexcept {
  port* notify = nullptr;
  mach_port_mscount_t count = 0;
  {
    const std::lock_guard hold(target->lock);
    count = target->make_send_count;
    if (--target->send_rights == 0) notify = std::exchange(target->no_senders, nullptr);
  }
  if (notify) notify_no_senders(notify, count, cleanup);
  target->release();
}

void release_send_once_right(port* target, deferred_work& cleanup) noexcept {
  bool notifies = false;
  {
    const std::lock_guard hold(target->lock);
    // A full queue takes no notification: the right ends without one (ipc_notify_send_once).
    notifies = target->active && !target->at_ceiling();
    if (!notifies) --target->send_once_rights;
  }
  if (notifies) {
    notify_send_once(target, cleanup);
  } else {
    target->release();
  }
}

void consume_send_once_right(port* target) noexcept {
  {
    const std::lock_guard hold(target->lock);
    --target->send_once_rights;
  }
  target->release();
}

void release_right(carried_right& right, deferred_work& cleanup) noexcept {
  port* const target = std::exchange(right.target, nullptr);
  if (!target) return;
  switch (right.disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
      release_send_right(target, cleanup);
      break;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      release_send_once_right(target, cleanup);
      break;
    default:
      destroy_port(target, cleanup);
      break;
  }
}

port* make_send_right(port& target) noexcept {
  ++target.make_send_count;
  ++target.send_rights;
  target.retain();
  return &target;
}

port* make_send_once_right(port& target) noexcept {
  ++target.send_once_rights;
  target.retain();
  return &target;
}

}  // namespace kedge::mach::kernel
