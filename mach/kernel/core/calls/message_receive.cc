// The receiving half of mach_msg (Darwin: ipc_mqueue_receive, ipc_kmsg_copyout,
// mach_msg_receive_error).
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

// The port or set of the name that the call receives from, or null.
ref<object> message_call::find_receive() noexcept {
  ipc_space& names = caller_.names;
  const std::lock_guard hold(names.lock);
  const entry* const found = names.active ? names.find(state_.receive_name) : nullptr;
  if (!found) return {};
  if (found->type & (MACH_PORT_TYPE_RECEIVE | MACH_PORT_TYPE_PORT_SET)) {
    return ref<object>(found->target);
  }
  const bool raises = found->type != MACH_PORT_TYPE_DEAD_NAME ||
                      cleanup_.owner.os_profile().raises_for_receive_from_dead_name();
  if (raises && !found->had_receive) {
    reply_.guard = {kGUARD_EXC_RCV_INVALID_NAME, state_.receive_name, 0};
  }
  return {};
}

status message_call::receive() {
  state_.stage = pending_call::phase::receive;
  const ref<object> from = find_receive();
  if (!from) return done(MACH_RCV_INVALID_NAME);
  if (from->kind == object_kind::port) return receive_at(static_cast<port&>(*from));
  return receive_at(static_cast<ipc_port_set&>(*from));
}

// Whether the message is too large for the buffer and stays in its queue (MACH_RCV_LARGE).
bool message_call::too_large_stays(const kmsg& next, const port& from) {
  if ((state_.option & MACH_RCV_LARGE) == 0) return false;
  if (next.size + REQUESTED_TRAILER_SIZE(state_.option) <= state_.receive_size) return false;
  state_.needed_size = next.size;
  state_.identity = from.receiver_name;
  return true;
}

// Lists the call with its task before it waits: terminate() must find the call in the task before
// the call can be in a queue. No lock may be held.
void message_call::announce(object& from) noexcept {
  state_.waits_on = ref<object>(&from);
  caller_.add(state_);
  announced_ = true;
}

// Ends the receive without a message, or begins to copy one out. No lock may be held.
status message_call::end_receive(mach_msg_return_t result, kmsg* message) {
  if (std::exchange(announced_, false)) caller_.remove(state_);
  state_.waits_on = {};
  if (message) return finish_receive(message);
  return done(result == MACH_RCV_TOO_LARGE ? report_needed_size(state_.needed_size, state_.identity)
                                           : result);
}

status message_call::receive_at(port& from) {
  for (;;) {
    kmsg* message = nullptr;
    mach_msg_return_t failed = MACH_MSG_SUCCESS;
    {
      const std::lock_guard hold(from.lock);
      if (from.receiver != &caller_.names) {
        failed = from.active ? MACH_RCV_PORT_CHANGED : MACH_RCV_PORT_DIED;
      } else if (const kmsg* next = from.queue().peek()) {
        if (too_large_stays(*next, from)) {
          failed = MACH_RCV_TOO_LARGE;
        } else {
          message = take(from, cleanup_);
          reply_.as<replies::message>().emptied = from.queue().peek() == nullptr;
        }
      } else if (state_.poll_receive) {
        failed = MACH_RCV_TIMED_OUT;
      } else if (announced_) {
        if (!caller_.terminated()) return park(from.receivers);
        failed = MACH_RCV_PORT_DIED;
      }
    }
    if (message || failed != MACH_MSG_SUCCESS) return end_receive(failed, message);
    if (faults().happens(fault_point::interruption)) return done(MACH_RCV_INTERRUPTED);
    announce(from);
  }
}

status message_call::receive_at(ipc_port_set& from) {
  for (;;) {
    ref<port> member;
    mach_msg_return_t failed = MACH_MSG_SUCCESS;
    {
      const std::lock_guard hold(from.lock);
      if (!from.active) {
        failed = MACH_RCV_PORT_DIED;
      } else if (membership* const next = from.ready.front()) {
        member = ref<port>(next->member);
      } else if (state_.poll_receive) {
        failed = MACH_RCV_TIMED_OUT;
      } else if (announced_) {
        if (!caller_.terminated()) return park(from.receivers);
        failed = MACH_RCV_PORT_DIED;
      }
    }
    kmsg* message = nullptr;
    if (member) failed = take_from_member(*member, from, message);
    if (message || failed != MACH_MSG_SUCCESS) return end_receive(failed, message);
    if (member) continue;
    if (faults().happens(fault_point::interruption)) return done(MACH_RCV_INTERRUPTED);
    announce(from);
  }
}

// Takes a message from a ready member of a set. Leaves `message` null, with success, if the member
// left the set or was emptied concurrently: the set's lock could not be kept, since a port's lock
// comes before it.
mach_msg_return_t message_call::take_from_member(port& member, ipc_port_set& from, kmsg*& message) {
  const std::lock_guard hold(member.lock);
  const kmsg* const first = member.queue().peek();
  membership* link = member.sets.front();
  while (link && link->set != &from) link = member_sets::after(*link);
  if (!first || !link) return MACH_MSG_SUCCESS;
  if (too_large_stays(*first, member)) return MACH_RCV_TOO_LARGE;
  if (cleanup_.owner.os_profile().serves_members_in_turn()) {
    const std::lock_guard hold_set(from.lock);
    if (link->ready.is_linked()) {
      from.ready.remove(*link);
      from.ready.push_back(*link);
    }
  }
  message = take(member, cleanup_);
  const std::lock_guard hold_set(from.lock);
  reply_.as<replies::message>().emptied = from.ready.empty();
  return MACH_MSG_SUCCESS;
}

void message_call::receive_from(object& from) {
  if (from.kind == object_kind::port) {
    receive_at(static_cast<port&>(from));
  } else {
    receive_at(static_cast<ipc_port_set&>(from));
  }
}

status message_call::finish_receive(kmsg* message) {
  const mach_msg_size_t total = message->size + REQUESTED_TRAILER_SIZE(state_.option);
  if (total > state_.receive_size) return done(discard_too_large(message));
  if (message->room_awaited) [[unlikely]]
    notify_of_room(*message->destination.target);
  return done(deliver(message));
}

// Sends the armed send-possible notifications of a port whose queue has room again.
void message_call::notify_of_room(port& from) {
  deferred_notifications deferred;
  {
    object_lock locked(from.lock);
    const bool armed = std::exchange(from.send_possible_armed, false);
    for (std::uint32_t slot = 1; armed && from.active && slot < from.requests.size(); ++slot) {
      name_request& request = from.requests[slot];
      if (!request.notify || !request.armed) continue;
      // The empty slot stays with the name until an operation on the name frees it.
      deferred.add(deferred_notifications::kind::send_possible,
                   std::exchange(request.notify, nullptr), request.name);
      request.armed = false;
      if (!deferred.full()) continue;
      const scoped_unlock gap(locked);
      deferred.flush(cleanup_);
    }
  }
  deferred.flush(cleanup_);
}

// Consumes the destination right of a message that has arrived. Returns the name of the receive
// right in the caller's space, MACH_PORT_NULL if the right has moved away, or MACH_PORT_DEAD.
mach_port_name_t message_call::copy_out_destination(kmsg& message,
                                                    deferred_notifications& deferred) {
  using kind = deferred_notifications::kind;
  port* const to = std::exchange(message.destination.target, nullptr);
  object_lock locked(to->lock);
  const bool is_here = to->receiver == &caller_.names;
  const mach_port_name_t name = is_here      ? to->receiver_name
                                : to->active ? mach_port_name_t{MACH_PORT_NULL}
                                             : MACH_PORT_DEAD;
  if (message.destination.disposition == MACH_MSG_TYPE_MOVE_SEND) {
    if (--to->send_rights == 0 && to->no_senders) {
      deferred.add(kind::no_senders, std::exchange(to->no_senders, nullptr), to->make_send_count);
    }
  } else if (is_here || !to->active) {
    --to->send_once_rights;
  } else {
    deferred.add(kind::send_once, to);  // with its reference
    return name;
  }
  locked.unlock();
  to->release();
  return name;
}

// Puts the rights of the header into the caller's space and fills in the header.
mach_msg_return_t message_call::copy_out_header(kmsg& message, deferred_notifications& deferred) {
  ipc_space& names = caller_.names;
  std::unique_lock locked(names.lock, std::defer_lock);
  // Without rights to be copied out the space is not needed.
  if (message.reply.target || message.complex || message.voucher.target) {
    locked.lock();
    if (!names.active) return MACH_RCV_INVALID_NAME;
  }
  const std::uint8_t reply_type = message.reply.disposition;
  const std::uint8_t to_type = message.destination.disposition;
  mach_port_name_t reply_name = message.reply.dead ? MACH_PORT_DEAD : MACH_PORT_NULL;
  mach_port_name_t voucher_name = MACH_PORT_NULL;
  const bool wants_voucher = (state_.option & MACH_RCV_VOUCHER) != 0;
  if ((message.reply.target && copy_out(names, message.reply, reply_name) != KERN_SUCCESS) ||
      (message.voucher.target && wants_voucher &&
       copy_out(names, message.voucher, voucher_name) != KERN_SUCCESS)) {
    return MACH_RCV_HEADER_ERROR | MACH_MSG_IPC_SPACE;
  }
  mach_msg_header_t& header = message.header();
  header.msgh_bits =
      MACH_MSGH_BITS_SET(reply_type, to_type, wants_voucher ? message.voucher.disposition : 0u,
                         message.complex ? MACH_MSGH_BITS_COMPLEX : 0u);
  header.msgh_remote_port = reply_name;
  header.msgh_local_port = copy_out_destination(message, deferred);
  // Without a voucher the receiver gets the sender's bytes of this field.
  if (message.voucher.disposition) header.msgh_voucher_port = voucher_name;
  header.msgh_id = message.id;
  return MACH_MSG_SUCCESS;
}

// Copies a message that fits out to the caller.
mach_msg_return_t message_call::deliver(kmsg* message) {
  deferred_notifications deferred;
  mach_msg_return_t result = copy_out_header(*message, deferred);
  if (result != MACH_MSG_SUCCESS) {
    lose(message);
    return result;
  }
  deferred.flush(cleanup_);
  if (message->voucher.target) release_right(message->voucher, cleanup_);
  if (message->complex) result = copy_out_body(*message, false);
  message->header().msgh_size = message->size;
  if (result != MACH_MSG_SUCCESS) result |= MACH_RCV_BODY_ERROR;

  const mach_msg_size_t trailer =
      add_trailer(*message, state_.option, message->bytes() + message->size);
  const mach_msg_size_t total = message->size + trailer;
  reply_.as<replies::message>().size = total;
  if (!memory_.out(message->bytes(), state_.receive_buffer, total)) result = MACH_RCV_INVALID_DATA;
  if (result == MACH_MSG_SUCCESS) {
    kmsg_pool::give_back(message);
  } else {
    cleanup_.destroy_later(message);
    cleanup_.reap();
  }
  return result;
}

// Destroys a message that does not fit, without MACH_RCV_LARGE. The caller gets a header without
// rights, which identifies the message.
mach_msg_return_t message_call::discard_too_large(kmsg* message) {
  struct {
    mach_msg_header_t header;
    std::byte trailer[sizeof(mach_msg_max_trailer_t)];
  } bare{};
  bare.header.msgh_bits = MACH_MSGH_BITS(mach_msg_bits_t{message->reply.disposition},
                                         mach_msg_bits_t{message->destination.disposition}) |
                          (message->complex ? MACH_MSGH_BITS_COMPLEX : 0u);
  bare.header.msgh_size = sizeof bare.header;
  bare.header.msgh_id = message->id;
  if (message->reply.dead) bare.header.msgh_remote_port = MACH_PORT_DEAD;
  // Without a voucher the receiver gets the sender's bytes of this field.
  if (message->voucher.disposition == MACH_MSG_TYPE_PORT_NONE) {
    bare.header.msgh_voucher_port = message->header().msgh_voucher_port;
  }
  // The trailer of an error does not identify the sender.
  message->sender = {};
  message->audit = {};
  const mach_msg_size_t trailer = add_trailer(*message, state_.option, bare.trailer);
  bare.header.msgh_local_port = lose(message);
  auto written = static_cast<mach_msg_size_t>(sizeof bare.header + trailer);
  if (cleanup_.owner.os_profile().respects_tiny_buffers()) {
    if (state_.receive_size < sizeof bare.header) return MACH_RCV_INVALID_DATA;
    written = std::min(written, state_.receive_size);
  }
  memory_.out(&bare, state_.receive_buffer, written);
  reply_.as<replies::message>().size = written;
  return MACH_RCV_TOO_LARGE;
}

// Destroys a received message before it has reached the caller. The message has arrived all the
// same: its destination right is consumed. Returns the name that copy_out_destination gives.
mach_port_name_t message_call::lose(kmsg* message) {
  deferred_notifications deferred;
  mach_port_name_t name = MACH_PORT_NULL;
  {
    const std::lock_guard hold(caller_.names.lock);
    name = copy_out_destination(*message, deferred);
  }
  deferred.flush(cleanup_);
  cleanup_.destroy_later(message);
  cleanup_.reap();
  return name;
}

// MACH_RCV_TOO_LARGE for a message that stays in its queue.
mach_msg_return_t message_call::report_needed_size(mach_msg_size_t size,
                                                   mach_port_name_t identity) {
  constexpr std::size_t size_at = offsetof(mach_msg_header_t, msgh_size);
  constexpr std::size_t local_at = offsetof(mach_msg_header_t, msgh_local_port);
  if (state_.receive_size >= cleanup_.owner.os_profile().smallest_buffer_for_size()) {
    memory_.out(&size, state_.receive_buffer + size_at, sizeof size);
  }
  if ((state_.option & MACH_RCV_LARGE_IDENTITY) &&
      state_.receive_size >= local_at + sizeof identity) {
    memory_.out(&identity, state_.receive_buffer + local_at, sizeof identity);
  }
  reply_.as<replies::message>() = {
      .size = size, .identity = identity, .awakened = MACH_PORT_NULL, .emptied = 0};
  return MACH_RCV_TOO_LARGE;
}

}  // namespace kedge::mach::kernel
