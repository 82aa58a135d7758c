// Requests for notifications, and the messages that answer them (Darwin:
// mach_port_request_notification, ipc_right_request_alloc, ipc_notify.c).
#include "kedge/mach/kernel/core/notification.h"

#include <mach/ndr.h>
#include <mach/notify.h>

#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

// --- Requests

using kind = deferred_notifications::kind;

// No-senders and port-destroyed, which belong to the receive right. Requires the space lock.
kern_return_t request_of_receiver(const right_context& context, mach_port_name_t name, entry& held,
                                  const notification_request& requested, port*& previous) {
  port& target = port_of(held);
  const std::lock_guard hold(target.lock);
  const bool moves = requested.id == MACH_NOTIFY_PORT_DESTROYED;
  if (target.reply || (moves && target.serves != kernel_object::none)) {
    return context.refuse(kGUARD_EXC_INVALID_RIGHT, name, KERN_INVALID_RIGHT);
  }
  if (moves) {
    if (target.port_destroyed) return context.refuse(kGUARD_EXC_KERN_FAILURE, name, KERN_FAILURE);
    target.port_destroyed = requested.notify;
    return KERN_SUCCESS;
  }
  previous = std::exchange(target.no_senders, nullptr);
  if (requested.notify && target.send_rights == 0 && requested.sync <= target.make_send_count) {
    context.deferred.add(kind::no_senders, requested.notify, target.make_send_count);
  } else {
    target.no_senders = requested.notify;
    if (target.no_senders && context.names.faults.happens(fault_point::displaced_request)) {
      context.deferred.add(kind::send_once, std::exchange(target.no_senders, nullptr));
    }
  }
  return KERN_SUCCESS;
}

// Dead-name and send-possible, which share the one slot of a name (Darwin:
// ipc_right_request_alloc). Requires the space lock.
kern_return_t request_of_name(const right_context& context, mach_port_name_t name, entry& held,
                              const notification_request& requested, port*& previous) {
  port* const notify = requested.notify;
  if (!notify && held.request == 0) return KERN_SUCCESS;
  const bool send_possible = requested.id == MACH_NOTIFY_SEND_POSSIBLE;
  const bool immediate = requested.sync != 0;
  object_lock locked;
  if (held.type & MACH_PORT_TYPE_PORT_RIGHTS) locked = lock_if_alive(context.names, name, held);
  if (locked) {
    port& target = port_of(held);
    if (held.request != 0) previous = target.requests.remove(std::exchange(held.request, 0));
    if (!notify) return KERN_SUCCESS;
    const bool has_room =
        held.type == MACH_PORT_TYPE_SEND_ONCE || target.is_kernels() || !target.full();
    const faults_of_task& faults = context.names.faults;
    const bool armed = send_possible && immediate;
    if (armed && (has_room || faults.happens(fault_point::early_room))) {
      context.deferred.add(kind::send_possible, notify, name);
      return KERN_SUCCESS;
    }
    // The slot of a request that was removed just now needs no memory.
    if (!previous && faults.happens(fault_point::port_memory)) throw std::bad_alloc();
    held.request = target.requests.add(notify, name, send_possible, armed);
    if (armed) target.send_possible_armed = true;
    // As another library of the task does that registers a request of its own and cancels it.
    if (faults.happens(fault_point::displaced_request)) {
      context.deferred.add(kind::send_once, target.requests.remove(std::exchange(held.request, 0)));
    }
    return KERN_SUCCESS;
  }
  if (held.type != MACH_PORT_TYPE_DEAD_NAME) return KERN_INVALID_RIGHT;
  const bool fires_if_dead =
      send_possible || (immediate && context.cleanup.owner.os_profile().fires_for_dead_names());
  if (!notify || !fires_if_dead) return KERN_INVALID_ARGUMENT;
  if (held.urefs < max_urefs) ++held.urefs;
  context.deferred.add(kind::dead_name, notify, name);
  return KERN_SUCCESS;
}

// --- Messages

constexpr security_token_t kernel_security_token = KERNEL_SECURITY_TOKEN_VALUE;
constexpr audit_token_t kernel_audit_token = KERNEL_AUDIT_TOKEN_VALUE;
constexpr NDR_record_t native_record{
    0, 0, 0, NDR_PROTOCOL_2_0, NDR_INT_LITTLE_ENDIAN, NDR_CHAR_ASCII, NDR_FLOAT_IEEE, 0};

// A message of `size` bytes to the send-once right, with a blank body. Without memory the
// notification is lost and the right only released: to a receiver it looks like one that is late.
kmsg* make(port* notify, mach_msg_id_t id, mach_msg_size_t size, deferred_work& cleanup) noexcept {
  kmsg* message = cleanup.owner.messages().take(size);
  if (!message) {
    consume_send_once_right(notify);
    return nullptr;
  }
  std::memset(message->bytes(), 0, size);
  message->destination = {notify, MACH_MSG_TYPE_MOVE_SEND_ONCE, false};
  message->size = size;
  message->id = id;
  message->sender = kernel_security_token;
  message->audit = kernel_audit_token;
  return message;
}

void send_word(port* notify, mach_msg_id_t id, natural_t word, deferred_work& cleanup) noexcept {
  struct body {
    NDR_record_t record;
    natural_t word;
  } const contents{native_record, word};
  kmsg* message = make(notify, id, sizeof(mach_msg_header_t) + sizeof contents, cleanup);
  if (!message) return;
  std::memcpy(message->bytes() + sizeof(mach_msg_header_t), &contents, sizeof contents);
  post_from_kernel(message, cleanup);
}

}  // namespace

kern_return_t request_notification_at(const right_context& context, mach_port_name_t name,
                                      const notification_request& requested, port*& previous) {
  const mach_msg_id_t id = requested.id;
  const bool of_receiver = id == MACH_NOTIFY_PORT_DESTROYED || id == MACH_NOTIFY_NO_SENDERS;
  const bool of_name = id == MACH_NOTIFY_DEAD_NAME || id == MACH_NOTIFY_SEND_POSSIBLE;
  if (!of_receiver && !of_name) return KERN_INVALID_VALUE;
  if (id == MACH_NOTIFY_PORT_DESTROYED && requested.sync != 0) return KERN_INVALID_VALUE;
  if (!MACH_PORT_VALID(name)) return of_receiver ? KERN_INVALID_RIGHT : KERN_INVALID_ARGUMENT;

  const std::lock_guard hold(context.names.lock);
  entry* const found = context.names.find(name);
  if (!found) return KERN_INVALID_NAME;
  if (of_name) return request_of_name(context, name, *found, requested, previous);
  if ((found->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  return request_of_receiver(context, name, *found, requested, previous);
}

void deferred_notifications::flush_all(deferred_work& cleanup) noexcept {
  for (std::size_t index = 0; index < count_; ++index) {
    const deferred& each = list_[index];
    if (each.which == kind::destroy_set) {
      destroy_port_set(*ref<ipc_port_set>::adopt(static_cast<ipc_port_set*>(each.target)), cleanup);
      continue;
    }
    port* const target = static_cast<port*>(each.target);
    switch (each.which) {
      case kind::no_senders:
        notify_no_senders(target, each.word, cleanup);
        break;
      case kind::port_deleted:
        notify_port_deleted(target, each.word, cleanup);
        break;
      case kind::dead_name:
        notify_dead_name(target, each.word, cleanup);
        break;
      case kind::send_possible:
        notify_send_possible(target, each.word, cleanup);
        break;
      case kind::send_once:
        release_send_once_right(target, cleanup);
        break;
      case kind::destroy_port:
        destroy_port(target, cleanup);
        break;
      case kind::destroy_set:
        break;
    }
  }
  count_ = 0;
}

void post_from_kernel(kmsg* message, deferred_work& cleanup) noexcept {
  port& to = *message->destination.target;
  {
    const std::lock_guard hold(to.lock);
    // A caller may name one of the kernel's own ports as reply port, but nothing receives from it.
    if (to.active && !to.is_kernels() && !to.at_ceiling() && to.queue().reserve(*message)) {
      post(to, message, cleanup);
      return;
    }
  }
  cleanup.destroy_later(message);
  cleanup.reap();
}

void notify_port_deleted(port* notify, mach_port_name_t name, deferred_work& cleanup) noexcept {
  send_word(notify, MACH_NOTIFY_PORT_DELETED, name, cleanup);
}

void notify_send_possible(port* notify, mach_port_name_t name, deferred_work& cleanup) noexcept {
  send_word(notify, MACH_NOTIFY_SEND_POSSIBLE, name, cleanup);
}

void notify_dead_name(port* notify, mach_port_name_t name, deferred_work& cleanup) noexcept {
  send_word(notify, MACH_NOTIFY_DEAD_NAME, name, cleanup);
}

void notify_no_senders(port* notify, mach_port_mscount_t count, deferred_work& cleanup) noexcept {
  send_word(notify, MACH_NOTIFY_NO_SENDERS, count, cleanup);
}

void notify_send_once(port* notify, deferred_work& cleanup) noexcept {
  if (kmsg* message = make(notify, MACH_NOTIFY_SEND_ONCE, sizeof(mach_msg_header_t), cleanup)) {
    post_from_kernel(message, cleanup);
  }
}

void notify_port_destroyed(port* notify, port* receive_right, deferred_work& cleanup) noexcept {
  constexpr mach_msg_size_t size = sizeof(mach_msg_base_t) + sizeof(mach_msg_port_descriptor_t);
  kmsg* message = make(notify, MACH_NOTIFY_PORT_DESTROYED, size, cleanup);
  if (!message) return destroy_port(receive_right, cleanup);
  message->complex = true;
  message->reserve(1, 0);  // allocates nothing: one right fits into every message
  message->rights()[0] = {receive_right, MACH_MSG_TYPE_MOVE_RECEIVE, false};
  const mach_msg_body_t body{1};
  std::memcpy(message->bytes() + sizeof(mach_msg_header_t), &body, sizeof body);
  message->circular = !cleanup.owner.rights_in_transit().bind(*receive_right, *notify);
  if (!message->circular) return post_from_kernel(message, cleanup);
  cleanup.destroy_later(message);
  cleanup.reap();
}

}  // namespace kedge::mach::kernel
