// The sending half of mach_msg.
#include <mach/mig_errors.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

constexpr mach_msg_size_t max_body = 48u * 1024 * 1024 - sizeof(mach_msg_max_trailer_t);

// Whether it is the last reference of a right that cannot be moved away.
bool must_stay(const entry& found, mach_msg_type_name_t disposition) noexcept {
  return found.pinned && found.urefs == 1 && disposition == MACH_MSG_TYPE_MOVE_SEND;
}

bool is_voucher(const entry& found) noexcept {
  return (found.type & MACH_PORT_TYPE_SEND) &&
         static_cast<const port&>(*found.target).serves == kernel_object::voucher;
}

// Two rights out of one name: false if it does not hold them. The first is to be taken first.
bool pair_up(const entry& found, mach_msg_type_name_t& first,
             mach_msg_type_name_t& second) noexcept {
  if (first == MACH_MSG_TYPE_MOVE_SEND_ONCE || second == MACH_MSG_TYPE_MOVE_SEND_ONCE) return false;
  if (first == MACH_MSG_TYPE_MOVE_SEND && second == MACH_MSG_TYPE_MOVE_SEND) {
    return found.urefs >= 2;
  }
  if (first == MACH_MSG_TYPE_MOVE_SEND && second == MACH_MSG_TYPE_COPY_SEND) {
    // The copy first, whichever it is for: the move may take the last reference.
    std::swap(first, second);
  }
  return true;
}

// Whether the destination takes messages only with a reply port that was made as one, and this is
// none.
bool lacks_reply_port(const entry& to, const entry& reply_to) noexcept {
  if ((reply_to.type & MACH_PORT_TYPE_PORT_RIGHTS) == 0) return false;
  {
    port& reply = static_cast<port&>(*reply_to.target);
    const std::lock_guard locked(reply.lock);
    if (!reply.active || reply.reply || reply.provisional_reply) return false;
  }
  port& destination = static_cast<port&>(*to.target);
  const std::lock_guard locked(destination.lock);
  return destination.active && destination.wants_reply_port;
}

// What a strict reply asks of the reply port while it is alive (Darwin:
// ipc_kmsg_validate_reply_port_locked).
bool is_strict_reply(port& reply, const space& names, mach_msg_option_t option) noexcept {
  const std::lock_guard locked(reply.lock);
  if (!reply.active) return true;
  const bool wants_immovable =
      (option & MACH_RCV_GUARDED_DESC) != 0 && (option & MACH_RCV_MSG) == 0;
  return reply.receiver == &names && reply.send_once_rights == 1 && reply.send_rights <= 1 &&
         (!wants_immovable || reply.immovable);
}

// Lets go of the send-once right of a reply port: the name of its receive right, if that is here.
// The space is locked.
mach_port_name_t swallow_reply(const space& names, carried_right& right) noexcept {
  port* const reply = std::exchange(right.target, nullptr);
  mach_port_name_t name = MACH_PORT_NULL;
  {
    const std::lock_guard locked(reply->lock);
    if (!reply->active) {
      name = MACH_PORT_DEAD;
    } else if (reply->receiver == &names) {
      name = reply->receiver_name;
    }
  }
  consume_send_once_right(reply);
  return name;
}

}  // namespace

// Every error up to here has consumed nothing (class 1 of failed sends).
status message_call::send() {
  const mach_msg_size_t size = state_.send_size;
  state_.stage = pending_call::stage::send;
  if (size < sizeof(mach_msg_header_t) || size % 4 != 0) return done(MACH_SEND_MSG_TOO_SMALL);
  if (size > max_body) return done(MACH_SEND_TOO_LARGE);
  kmsg* message = after_.kernel.messages(this).take(size);
  if (!message) return done(MACH_SEND_NO_BUFFER);
  mach_msg_return_t result = MACH_SEND_INVALID_DATA;
  bool taken = false;
  if (memory_.in(state_.send_buffer, message->bytes(), size)) {
    mach_msg_header_t& header = message->header();
    message->size = size;
    message->id = header.msgh_id;
    message->complex = MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits);
    result = MACH_SEND_MSG_TOO_SMALL;
    if (!message->complex || size >= sizeof(mach_msg_base_t)) {
      message->sender = caller_.who.security;
      message->audit = caller_.who.audit;
      owed then;
      result = copy_in_header(*message, then);
      taken = result == MACH_MSG_SUCCESS;
      if (taken) result = copy_in_rest(*message, then);
      then.settle(after_);
    }
  }
  if (result == MACH_MSG_SUCCESS) return post_or_park(message);
  if (taken) {
    // Class 2: the header's rights and the descriptors so far are lost.
    after_.destroy_later(message);
    after_.reap();
  } else {
    kmsg_pool::give_back(message);
  }
  return done(result);
}

bool message_call::is_strict() const noexcept {
  return (state_.option & MACH_MSG_STRICT_REPLY) && after_.kernel.strict_replies();
}

mach_msg_return_t message_call::copy_in_rest(kmsg& message, owed& then) {
  if (is_strict() && message.reply.target &&
      !is_strict_reply(*message.reply.target, caller_.space, state_.option)) {
    reply_.guard = {kGUARD_EXC_STRICT_REPLY, message.header().msgh_local_port,
                    MPG_FLAGS_STRICT_REPLY_INVALID_REPLY_PORT | KERN_INVALID_CAPABILITY};
    return MACH_SEND_INVALID_REPLY;
  }
  if (!message.complex) return MACH_MSG_SUCCESS;
  if (!after_.kernel.profile().checks_descriptors_first()) {
    const mach_msg_return_t bad = check_body(message);
    if (bad != MACH_MSG_SUCCESS) return bad;
  }
  return copy_in_body(message, then);
}

mach_msg_return_t message_call::invalid_voucher(const mach_msg_header_t& header) noexcept {
  reply_.guard = {kGUARD_EXC_SEND_INVALID_VOUCHER, header.msgh_voucher_port, 0};
  return MACH_SEND_INVALID_VOUCHER;
}

// What can be said of a header without looking at names (Darwin: ipc_kmsg_copyin_header_validate).
mach_msg_return_t message_call::check_header(mach_msg_header_t& header) noexcept {
  const profile age = after_.kernel.profile();
  header.msgh_bits &= MACH_MSGH_BITS_USER;
  const mach_msg_type_name_t to_type = MACH_MSGH_BITS_REMOTE(header.msgh_bits);
  const mach_msg_type_name_t reply_type = MACH_MSGH_BITS_LOCAL(header.msgh_bits);
  const mach_msg_type_name_t voucher_type = MACH_MSGH_BITS_VOUCHER(header.msgh_bits);
  if (reply_type == MACH_MSG_TYPE_PORT_NONE ? header.msgh_local_port != MACH_PORT_NULL
                                            : !MACH_MSG_TYPE_PORT_ANY_SEND(reply_type)) {
    return MACH_SEND_INVALID_HEADER;
  }
  const bool bad_voucher =
      voucher_type != MACH_MSG_TYPE_PORT_NONE &&
      ((voucher_type != MACH_MSG_TYPE_MOVE_SEND && voucher_type != MACH_MSG_TYPE_COPY_SEND) ||
       header.msgh_voucher_port == MACH_PORT_DEAD);
  if (bad_voucher && age.checks_voucher_before_destination()) return invalid_voucher(header);
  if (!MACH_MSG_TYPE_PORT_ANY_SEND(to_type)) return MACH_SEND_INVALID_HEADER;
  if (!MACH_PORT_VALID(header.msgh_remote_port)) return MACH_SEND_INVALID_DEST;
  return bad_voucher ? invalid_voucher(header) : MACH_MSG_SUCCESS;
}

mach_msg_return_t message_call::copy_in_header(kmsg& message, owed& then) {
  mach_msg_header_t& header = message.header();
  const mach_msg_return_t bad = check_header(header);
  if (bad != MACH_MSG_SUCCESS) return bad;
  space& names = caller_.space;
  const std::lock_guard locked(names.lock);
  if (!names.active) return MACH_SEND_INVALID_DEST;
  if (MACH_MSGH_BITS_VOUCHER(header.msgh_bits) != MACH_MSG_TYPE_PORT_NONE &&
      header.msgh_voucher_port != MACH_PORT_NULL) {
    entry* const found = names.find(header.msgh_voucher_port);
    if (!found || !is_voucher(*found)) return invalid_voucher(header);
  }
  const mach_msg_type_name_t reply_type = MACH_MSGH_BITS_LOCAL(header.msgh_bits);
  if (is_strict() &&
      (!MACH_PORT_VALID(header.msgh_local_port) || (reply_type != MACH_MSG_TYPE_MAKE_SEND_ONCE &&
                                                    reply_type != MACH_MSG_TYPE_MOVE_SEND_ONCE))) {
    reply_.guard = {kGUARD_EXC_STRICT_REPLY, header.msgh_local_port,
                    MPG_FLAGS_STRICT_REPLY_INVALID_REPLY_DISP | reply_type};
    return MACH_SEND_INVALID_REPLY;
  }
  return copy_in_ports(message, then);
}

// Whether the reply port can be copied in, whatever becomes of the destination.
bool message_call::is_reply_port(const mach_msg_header_t& header) noexcept {
  const mach_port_name_t name = header.msgh_local_port;
  const mach_msg_type_name_t type = MACH_MSGH_BITS_LOCAL(header.msgh_bits);
  const entry* const found = caller_.space.find(name);
  if (!found || must_stay(*found, type)) return false;
  if (found->type == MACH_PORT_TYPE_DEAD_NAME && after_.kernel.profile().refuses_dead_reply()) {
    return false;
  }
  if (found->type & MACH_PORT_TYPE_PORT_RIGHTS) {
    port& at = static_cast<port&>(*found->target);
    const std::lock_guard locked(at.lock);
    if (at.active && at.reply && type != MACH_MSG_TYPE_MAKE_SEND_ONCE) return false;
    if (at.active && at.immovable_send && type != MACH_MSG_TYPE_MAKE_SEND &&
        type != MACH_MSG_TYPE_MAKE_SEND_ONCE) {
      reply_.guard = {kGUARD_EXC_IMMOVABLE, name, 0};
      return false;
    }
  }
  const bool is_voucher_too = MACH_MSGH_BITS_VOUCHER(header.msgh_bits) != MACH_MSG_TYPE_PORT_NONE &&
                              header.msgh_voucher_port == name;
  return !is_voucher_too && may_copy_in(*found, type);
}

// The three names of the header, all or none. The space is locked.
mach_msg_return_t message_call::copy_in_ports(kmsg& message, owed& then) {
  space& names = caller_.space;
  const profile age = after_.kernel.profile();
  const mach_msg_header_t& header = message.header();
  const mach_port_name_t to = header.msgh_remote_port;
  const mach_port_name_t reply_to = header.msgh_local_port;
  mach_msg_type_name_t to_type = MACH_MSGH_BITS_REMOTE(header.msgh_bits);
  mach_msg_type_name_t reply_type = MACH_MSGH_BITS_LOCAL(header.msgh_bits);
  mach_msg_type_name_t voucher_type = MACH_MSGH_BITS_VOUCHER(header.msgh_bits);
  const bool has_reply = MACH_PORT_VALID(reply_to);
  const bool has_voucher =
      voucher_type != MACH_MSG_TYPE_PORT_NONE && header.msgh_voucher_port != MACH_PORT_NULL;

  entry* found = names.find(to);
  const bool is_port = found && (found->type & MACH_PORT_TYPE_PORT_RIGHTS) != 0;
  if (!found || (!is_port && age.checks_destination_before_reply())) return MACH_SEND_INVALID_DEST;
  if (has_reply && !is_reply_port(header)) {
    if (reply_.guard.code == 0) reply_.guard = {kGUARD_EXC_SEND_INVALID_REPLY, reply_to, 0};
    return MACH_SEND_INVALID_REPLY;
  }
  if (has_reply && is_port && lacks_reply_port(*found, *names.find(reply_to))) [[unlikely]] {
    reply_.guard = {kGUARD_EXC_REQUIRE_REPLY_PORT_SEMANTICS, reply_to, 0};
    return MACH_SEND_INVALID_REPLY;
  }
  if (!is_port || !may_copy_in(*found, to_type) || must_stay(*found, to_type)) {
    return MACH_SEND_INVALID_DEST;
  }
  // A send-once right of a dead port passes, unless it is known to be dead, or to be made known.
  if ((to_type != MACH_MSG_TYPE_MOVE_SEND_ONCE || found->request != 0) &&
      convert_if_dead(names, to, *found)) {
    return MACH_SEND_INVALID_DEST;
  }
  if ((has_voucher && header.msgh_voucher_port == to && !pair_up(*found, to_type, voucher_type)) ||
      (has_reply && reply_to == to && !pair_up(*found, to_type, reply_type))) {
    return MACH_SEND_INVALID_DEST;
  }
  if (message.complex && age.checks_descriptors_first()) {
    if (const mach_msg_return_t bad = check_body(message); bad != MACH_MSG_SUCCESS) return bad;
  }

  const auto take = [&](mach_port_name_t name, mach_msg_type_name_t type, purpose use,
                        carried_right& right) {
    return copy_in(names, name, *names.find(name), type, use, right, then, reply_.guard, after_);
  };
  const bool notifies = (state_.option & MACH_SEND_NOTIFY) && found->request != 0 &&
                        arrives_as(to_type) != MACH_MSG_TYPE_MOVE_SEND_ONCE;
  if (take(to, to_type, purpose::destination, message.destination) != KERN_SUCCESS) {
    return MACH_SEND_INVALID_DEST;
  }
  if (notifies) {
    if (const entry* still = names.find(to); still && still->request != 0) {
      arm_send_possible(*message.destination.target, *still);
    }
  }
  message.reply = {nullptr, static_cast<std::uint8_t>(arrives_as(reply_type)),
                   reply_to == MACH_PORT_DEAD};
  if (has_reply) take(reply_to, reply_type, purpose::reply, message.reply);
  message.voucher.disposition =
      voucher_type == MACH_MSG_TYPE_PORT_NONE ? MACH_MSG_TYPE_PORT_NONE : MACH_MSG_TYPE_MOVE_SEND;
  if (has_voucher) {
    take(header.msgh_voucher_port, voucher_type, purpose::carrying, message.voucher);
  }
  return MACH_MSG_SUCCESS;
}

void message_call::arm_send_possible(port& to, const entry& found) noexcept {
  const std::lock_guard locked(to.lock);
  if (!to.active) return;
  name_request& request = to.requests[found.request];
  if (!request.notify || !request.send_possible) return;
  if (to.full()) {
    request.armed = true;
    to.send_possible_armed = true;
  } else {
    always_ = true;
  }
}

status message_call::post_or_park(kmsg* message) {
  port& to = *message->destination.target;
  to.lock.lock();
  if (to.serves != kernel_object::none && to.active) {
    to.lock.unlock();
    serve(message);
    return done(MACH_MSG_SUCCESS);
  }
  if (!to.active || message->circular) {
    // Class 4: success, and the message is destroyed.
    to.lock.unlock();
    after_.destroy_later(message);
    after_.reap();
    return done(MACH_MSG_SUCCESS);
  }
  const bool passes =
      always_ || !to.full() || message->destination.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  if (passes && to.queue().reserve(*message)) {
    post(to, message, after_);
    to.lock.unlock();
    return done(MACH_MSG_SUCCESS);
  }
  if (passes || state_.poll_send) {
    to.lock.unlock();
    return send_failed(message, passes ? MACH_SEND_NO_BUFFER : MACH_SEND_TIMED_OUT);
  }
  to.lock.unlock();

  // terminate() must find the pending_call in the task before it can stand in the queue.
  state_.message = message;
  state_.waits_on = ref<object>(&to);
  caller_.add(state_);
  to.lock.lock();
  if (!caller_.terminated() && to.active && to.full()) {
    const status parked = park(to.senders);
    to.lock.unlock();
    return parked;
  }
  to.lock.unlock();
  caller_.remove(state_);
  state_.waits_on = {};
  state_.message = nullptr;
  if (!caller_.terminated()) return post_or_park(message);
  after_.destroy_later(message);
  after_.reap();
  return done(MACH_SEND_INVALID_DEST);
}

void message_call::serve(kmsg* message) {
  // The kernel's MIG servers are not reached by messages here: as for an unknown routine, the
  // answer is MIG_BAD_ID.
  kmsg* answer =
      message->reply.target ? after_.kernel.messages().take(sizeof(mig_reply_error_t)) : nullptr;
  if (answer) {
    mig_reply_error_t error{};
    error.NDR = {0, 0, 0, NDR_PROTOCOL_2_0, NDR_INT_LITTLE_ENDIAN, NDR_CHAR_ASCII, NDR_FLOAT_IEEE,
                 0};
    error.RetCode = MIG_BAD_ID;
    std::memcpy(answer->bytes(), &error, sizeof error);
    answer->destination = std::exchange(message->reply, {});
    answer->size = sizeof error;
    answer->id = static_cast<mach_msg_id_t>(static_cast<std::uint32_t>(message->id) + 100);
    answer->sender = KERNEL_SECURITY_TOKEN_VALUE;
    answer->audit = KERNEL_AUDIT_TOKEN_VALUE;
    post_from_kernel(answer, after_);
  }
  after_.destroy_later(message);
  after_.reap();
}

status message_call::send_failed(kmsg* message, mach_msg_return_t why) {
  space& names = caller_.space;
  mach_msg_header_t& header = message->header();
  names.lock.lock();
  if (!names.active) {
    names.lock.unlock();
    after_.destroy_later(message);
    after_.reap();
    return done(MACH_SEND_INVALID_DEST);
  }
  const bool copied_voucher = MACH_MSGH_BITS_VOUCHER(header.msgh_bits) == MACH_MSG_TYPE_COPY_SEND &&
                              message->voucher.target != nullptr;
  header.msgh_bits =
      MACH_MSGH_BITS_SET(message->destination.disposition, message->reply.disposition,
                         copied_voucher ? MACH_MSG_TYPE_COPY_SEND : message->voucher.disposition,
                         message->complex ? MACH_MSGH_BITS_COMPLEX : 0u);
  mach_port_name_t name = MACH_PORT_NULL;
  if (copy_out(names, message->destination, name) != KERN_SUCCESS) why |= MACH_MSG_IPC_SPACE;
  header.msgh_remote_port = name;
  if (message->reply.target && message->reply.target->reply) {
    // No send-once right is given for it: the receive right's name is, to make one again.
    name = swallow_reply(names, message->reply);
    if (MACH_PORT_VALID(name)) {
      header.msgh_bits &= ~std::uint32_t{MACH_MSGH_BITS_LOCAL_MASK};
      header.msgh_bits |= MACH_MSGH_BITS(0u, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    }
  } else if (copy_out(names, message->reply, name) != KERN_SUCCESS) {
    why |= MACH_MSG_IPC_SPACE;
  }
  header.msgh_local_port = name;
  // A voucher that was copied in stands there still: its copy goes with the message.
  if (message->voucher.target && !copied_voucher) {
    if (copy_out(names, message->voucher, name) != KERN_SUCCESS) why |= MACH_MSG_IPC_SPACE;
    header.msgh_voucher_port = name;
  }
  names.lock.unlock();
  if (message->complex) why |= copy_out_body(*message, true);
  header.msgh_size = message->size;
  memory_.out(message->bytes(), state_.send_buffer, message->size);
  // What found no name is destroyed with the message.
  after_.destroy_later(message);
  after_.reap();
  return done(why);
}

}  // namespace kedge::mach::kernel
