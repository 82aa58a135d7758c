// The receiving half of mach_msg.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/port_set.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/core/trailer.h"

namespace kedge::mach::kernel {

status message_call::receive() {
  state_.stage = pending_call::stage::receive;
  space& names = caller_.space;
  names.lock.lock();
  entry* found = names.active ? names.find(state_.receive_name) : nullptr;
  if (!found || (found->type & (MACH_PORT_TYPE_RECEIVE | MACH_PORT_TYPE_PORT_SET)) == 0) {
    const bool is_right = found && found->type != MACH_PORT_TYPE_DEAD_NAME;
    if (found && !found->had_receive &&
        (is_right || after_.kernel.profile().tells_receive_from_dead_name())) {
      reply_.guard = {kGUARD_EXC_RCV_INVALID_NAME, state_.receive_name, 0};
    }
    names.lock.unlock();
    return done(MACH_RCV_INVALID_NAME);
  }
  const ref<object> from(found->target);
  names.lock.unlock();
  if (from->kind == object_kind::port) return receive_at(static_cast<port&>(*from));
  return receive_at(static_cast<port_set&>(*from));
}

bool message_call::too_large_stays(const kmsg& next, const port& from) {
  if ((state_.option & MACH_RCV_LARGE) == 0) return false;
  if (next.size + REQUESTED_TRAILER_SIZE(state_.option) <= state_.receive_size) return false;
  state_.needed_size = next.size;
  state_.identity = from.receiver_name;
  return true;
}

status message_call::receive_at(port& from) {
  bool announced = false;
  for (;;) {
    from.lock.lock();
    mach_msg_return_t failed = MACH_MSG_SUCCESS;
    if (from.receiver != &caller_.space) {
      failed = from.active ? MACH_RCV_PORT_CHANGED : MACH_RCV_PORT_DIED;
    } else if (const kmsg* next = from.queue().peek()) {
      if (too_large_stays(*next, from)) {
        failed = MACH_RCV_TOO_LARGE;
      } else {
        kmsg* message = take(from, after_);
        from.lock.unlock();
        if (announced) caller_.remove(state_);
        state_.waits_on = {};
        return finish_receive(message);
      }
    } else if (state_.poll_receive) {
      failed = MACH_RCV_TIMED_OUT;
    } else if (announced && !caller_.terminated()) {
      const status parked = park(from.receivers);
      from.lock.unlock();
      return parked;
    } else if (announced) {
      failed = MACH_RCV_PORT_DIED;
    }
    from.lock.unlock();
    if (failed != MACH_MSG_SUCCESS) {
      if (announced) caller_.remove(state_);
      state_.waits_on = {};
      return done(failed == MACH_RCV_TOO_LARGE
                      ? tell_needed_size(state_.needed_size, state_.identity)
                      : failed);
    }
    // It will have to wait: terminate() must find the pending_call in the task before it can stand
    // in the queue.
    state_.waits_on = ref<object>(&from);
    caller_.add(state_);
    announced = true;
  }
}

status message_call::receive_at(port_set& from) {
  bool announced = false;
  const auto withdraw = [&] {
    if (announced) caller_.remove(state_);
    announced = false;
    state_.waits_on = {};
  };
  for (;;) {
    from.lock.lock();
    if (!from.active) {
      from.lock.unlock();
      withdraw();
      return done(MACH_RCV_PORT_DIED);
    }
    membership* next = from.ready.front();
    if (!next) {
      if (!state_.poll_receive && announced && !caller_.terminated()) {
        const status parked = park(from.receivers);
        from.lock.unlock();
        return parked;
      }
      from.lock.unlock();
      if (state_.poll_receive || announced) {
        withdraw();
        return done(state_.poll_receive ? MACH_RCV_TIMED_OUT : MACH_RCV_PORT_DIED);
      }
      state_.waits_on = ref<object>(&from);
      caller_.add(state_);
      announced = true;
      continue;
    }
    // The port's lock comes before the set's: let go, and look again.
    const ref<port> member(next->member);
    from.lock.unlock();
    member->lock.lock();
    const kmsg* first = member->queue().peek();
    membership* link = member->sets.front();
    while (link && link->set != &from)
      link = base::list<membership, &membership::in_port>::after(*link);
    if (!first || !link) {
      member->lock.unlock();
      continue;
    }
    if (too_large_stays(*first, *member)) {
      member->lock.unlock();
      withdraw();
      return done(tell_needed_size(state_.needed_size, state_.identity));
    }
    if (after_.kernel.profile().serves_members_in_turn()) {
      from.lock.lock();
      if (link->ready.linked) {
        from.ready.remove(*link);
        from.ready.push_back(*link);
      }
      from.lock.unlock();
    }
    kmsg* message = take(*member, after_);
    member->lock.unlock();
    withdraw();
    return finish_receive(message);
  }
}

void message_call::receive_from(object& at) {
  if (at.kind == object_kind::port) {
    receive_at(static_cast<port&>(at));
  } else {
    receive_at(static_cast<port_set&>(at));
  }
}

status message_call::finish_receive(kmsg* message) {
  const mach_msg_size_t total = message->size + REQUESTED_TRAILER_SIZE(state_.option);
  if (total > state_.receive_size) return done(discard_too_large(message));
  if (message->room_awaited) [[unlikely]]
    tell_of_room(*message->destination.target);
  return done(deliver(message));
}

void message_call::tell_of_room(port& from) {
  owed then;
  from.lock.lock();
  const bool awaited = std::exchange(from.send_possible_armed, false);
  for (std::uint32_t slot = 1; awaited && from.active && slot < from.requests.size(); ++slot) {
    name_request& request = from.requests[slot];
    if (!request.notify || !request.armed) continue;
    // The slot stays with the name, empty, until the name is looked after again.
    then.add(owed::kind::send_possible, std::exchange(request.notify, nullptr), request.name);
    request.armed = false;
    if (!then.full()) continue;
    from.lock.unlock();
    then.settle(after_);
    from.lock.lock();
  }
  from.lock.unlock();
  then.settle(after_);
}

mach_port_name_t message_call::copy_out_destination(kmsg& message, bool& ours, owed& then) {
  port* to = std::exchange(message.destination.target, nullptr);
  to->lock.lock();
  ours = to->receiver == &caller_.space;
  const mach_port_name_t name = ours         ? to->receiver_name
                                : to->active ? mach_port_name_t{MACH_PORT_NULL}
                                             : MACH_PORT_DEAD;
  if (message.destination.disposition == MACH_MSG_TYPE_MOVE_SEND) {
    if (--to->send_rights == 0 && to->no_senders) {
      then.add(owed::kind::no_senders, std::exchange(to->no_senders, nullptr), to->make_send_count);
    }
  } else if (ours || !to->active) {
    --to->send_once_rights;
  } else {
    to->lock.unlock();
    then.add(owed::kind::send_once, to);
    return name;
  }
  to->lock.unlock();
  to->release();
  return name;
}

mach_msg_return_t message_call::deliver(kmsg* message) {
  space& names = caller_.space;
  mach_msg_header_t& header = message->header();
  owed then;
  mach_msg_return_t result = MACH_MSG_SUCCESS;
  // With no right to be copied out the space is not concerned.
  const bool carries = message->reply.target || message->complex || message->voucher.target;
  if (carries) names.lock.lock();
  if (carries && !names.active) {
    names.lock.unlock();
    lose(message);
    return MACH_RCV_INVALID_NAME;
  }
  const std::uint8_t reply_type = message->reply.disposition;
  const std::uint8_t to_type = message->destination.disposition;
  mach_port_name_t reply_name = message->reply.dead ? MACH_PORT_DEAD : MACH_PORT_NULL;
  mach_port_name_t voucher_name = MACH_PORT_NULL;
  const bool wants_voucher = (state_.option & MACH_RCV_VOUCHER) != 0;
  if ((message->reply.target && copy_out(names, message->reply, reply_name) != KERN_SUCCESS) ||
      (message->voucher.target && wants_voucher &&
       copy_out(names, message->voucher, voucher_name) != KERN_SUCCESS)) {
    names.lock.unlock();
    lose(message);
    return MACH_RCV_HEADER_ERROR | MACH_MSG_IPC_SPACE;
  }
  bool ours = false;
  header.msgh_bits =
      MACH_MSGH_BITS_SET(reply_type, to_type, wants_voucher ? message->voucher.disposition : 0u,
                         message->complex ? MACH_MSGH_BITS_COMPLEX : 0u);
  header.msgh_remote_port = reply_name;
  header.msgh_local_port = copy_out_destination(*message, ours, then);
  // What is no voucher comes through as it was.
  if (message->voucher.disposition) header.msgh_voucher_port = voucher_name;
  header.msgh_id = message->id;
  if (carries) names.lock.unlock();
  then.settle(after_);
  if (message->voucher.target) release_right(message->voucher, after_);
  if (message->complex) result = copy_out_body(*message, false);
  header.msgh_size = message->size;
  if (result != MACH_MSG_SUCCESS) result |= MACH_RCV_BODY_ERROR;

  const mach_msg_size_t trailer =
      add_trailer(*message, state_.option, message->bytes() + message->size);
  const mach_msg_size_t total = message->size + trailer;
  reply_.as<replies::message>().size = total;
  if (!memory_.out(message->bytes(), state_.receive_buffer, total)) result = MACH_RCV_INVALID_DATA;
  if (result == MACH_MSG_SUCCESS) {
    kmsg_pool::give_back(message);
  } else {
    after_.destroy_later(message);
    after_.reap();
  }
  return result;
}

// Without MACH_RCV_LARGE a message that does not fit is destroyed; the header, its rights gone,
// tells which it was.
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
  // What is no voucher comes through as it was.
  if (message->voucher.disposition == MACH_MSG_TYPE_PORT_NONE) {
    bare.header.msgh_voucher_port = message->header().msgh_voucher_port;
  }
  // The trailer of an error tells nothing of the sender.
  message->sender = {};
  message->audit = {};
  const mach_msg_size_t trailer = add_trailer(*message, state_.option, bare.trailer);
  bare.header.msgh_local_port = lose(message);
  auto written = static_cast<mach_msg_size_t>(sizeof bare.header + trailer);
  if (after_.kernel.profile().respects_tiny_buffers()) {
    if (state_.receive_size < sizeof bare.header) return MACH_RCV_INVALID_DATA;
    written = std::min(written, state_.receive_size);
  }
  memory_.out(&bare, state_.receive_buffer, written);
  reply_.as<replies::message>().size = written;
  return MACH_RCV_TOO_LARGE;
}

// A received message is destroyed before it has reached the caller. It has arrived all the same:
// its destination right is consumed.
mach_port_name_t message_call::lose(kmsg* message) {
  owed then;
  bool ours = false;
  caller_.space.lock.lock();
  const mach_port_name_t name = copy_out_destination(*message, ours, then);
  caller_.space.lock.unlock();
  then.settle(after_);
  after_.destroy_later(message);
  after_.reap();
  return name;
}

mach_msg_return_t message_call::tell_needed_size(mach_msg_size_t size, mach_port_name_t identity) {
  constexpr std::size_t size_at = offsetof(mach_msg_header_t, msgh_size);
  constexpr std::size_t local_at = offsetof(mach_msg_header_t, msgh_local_port);
  if (state_.receive_size >= after_.kernel.profile().smallest_buffer_for_size()) {
    memory_.out(&size, state_.receive_buffer + size_at, sizeof size);
  }
  if ((state_.option & MACH_RCV_LARGE_IDENTITY) &&
      state_.receive_size >= local_at + sizeof identity) {
    memory_.out(&identity, state_.receive_buffer + local_at, sizeof identity);
  }
  reply_.as<replies::message>() = {.size = size, .identity = identity};
  return MACH_RCV_TOO_LARGE;
}

}  // namespace kedge::mach::kernel
