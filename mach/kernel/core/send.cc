// The sending half of mach_msg.
#include <mach/mig_errors.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/message_call.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

constexpr mach_msg_size_t max_body = 48u * 1024 * 1024 - sizeof(mach_msg_max_trailer_t);
constexpr std::uint32_t max_ports = 16383;

std::byte* descriptors(kmsg& message) noexcept {
  return message.bytes() + sizeof(mach_msg_base_t);
}

// Whether it is the last reference of a right that cannot be moved away.
bool must_stay(const entry& found, mach_msg_type_name_t disposition) noexcept {
  return found.pinned && found.urefs == 1 && disposition == MACH_MSG_TYPE_MOVE_SEND;
}

}  // namespace

// Every error up to here has consumed nothing (class 1 of failed sends).
status message_call::send() {
  const mach_msg_size_t size = state_.send_size;
  state_.stage = ticket::stage::send;
  if (size < sizeof(mach_msg_header_t) || size % 4 != 0) return done(MACH_SEND_MSG_TOO_SMALL);
  if (size > max_body) return done(MACH_SEND_TOO_LARGE);
  kmsg* message = after_.kernel.messages(&caller_).take(size);
  if (!message) return done(MACH_SEND_NO_BUFFER);
  mach_msg_return_t result = MACH_SEND_INVALID_DATA;
  if (memory_.in(state_.send_buffer, message->bytes(), size)) {
    mach_msg_header_t& header = message->header();
    header.msgh_bits &= MACH_MSGH_BITS_USER;
    message->size = size;
    message->id = header.msgh_id;
    message->complex = MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits);
    result = MACH_SEND_MSG_TOO_SMALL;
    if (!message->complex || size >= sizeof(mach_msg_base_t)) {
      message->sender = caller_.who.security;
      message->audit = caller_.who.audit;
      owed then;
      result = copy_in_header(*message, then);
      if (result == MACH_MSG_SUCCESS && message->complex) {
        result = copy_in_body(*message, then);
        if (result != MACH_MSG_SUCCESS) {
          // Class 2: the header's rights and the descriptors so far are lost.
          then.settle(after_);
          after_.destroy_later(message);
          after_.reap();
          return done(result);
        }
      }
      then.settle(after_);
    }
  }
  if (result != MACH_MSG_SUCCESS) {
    kmsg_pool::give_back(message);
    return done(result);
  }
  return post_or_park(message);
}

mach_msg_return_t message_call::check_body(kmsg& message) noexcept {
  mach_msg_body_t body;
  std::memcpy(&body, message.bytes() + sizeof(mach_msg_header_t), sizeof body);
  const std::uint32_t count = body.msgh_descriptor_count;
  std::size_t left = message.size - sizeof(mach_msg_base_t);
  const std::byte* at = descriptors(message);
  for (std::uint32_t index = 0; index < count; ++index) {
    if (left < sizeof(mach_msg_type_descriptor_t)) return MACH_SEND_MSG_TOO_SMALL;
    mach_msg_type_descriptor_t descriptor;
    std::memcpy(&descriptor, at, sizeof descriptor);
    // Out-of-line memory, out-of-line ports and guarded ports are kinds that this kernel does not
    // have.
    if (descriptor.type != MACH_MSG_PORT_DESCRIPTOR) return MACH_SEND_INVALID_TYPE;
    at += sizeof(mach_msg_port_descriptor_t);
    left -= sizeof(mach_msg_port_descriptor_t);
  }
  if (count > max_ports) return MACH_SEND_TOO_LARGE;
  try {
    message.reserve_rights(count);
  } catch (const std::bad_alloc&) {
    return MACH_SEND_NO_BUFFER;
  }
  return MACH_MSG_SUCCESS;
}

mach_msg_return_t message_call::copy_in_header(kmsg& message, owed& then) {
  const mach_msg_header_t header = message.header();
  const mach_msg_type_name_t to_type = MACH_MSGH_BITS_REMOTE(header.msgh_bits);
  const mach_msg_type_name_t reply_type = MACH_MSGH_BITS_LOCAL(header.msgh_bits);
  const mach_msg_type_name_t voucher_type = MACH_MSGH_BITS_VOUCHER(header.msgh_bits);
  if (!MACH_MSG_TYPE_PORT_ANY_SEND(to_type)) return MACH_SEND_INVALID_HEADER;
  if (reply_type == MACH_MSG_TYPE_PORT_NONE ? header.msgh_local_port != MACH_PORT_NULL
                                            : !MACH_MSG_TYPE_PORT_ANY_SEND(reply_type)) {
    return MACH_SEND_INVALID_HEADER;
  }
  if (voucher_type != MACH_MSG_TYPE_PORT_NONE && voucher_type != MACH_MSG_TYPE_MOVE_SEND &&
      voucher_type != MACH_MSG_TYPE_COPY_SEND) {
    return MACH_SEND_INVALID_VOUCHER;
  }
  if (!MACH_PORT_VALID(header.msgh_remote_port)) return MACH_SEND_INVALID_DEST;

  space& names = caller_.space;
  const std::lock_guard<mutex> locked(names.lock);
  if (!names.active) return MACH_SEND_INVALID_DEST;
  // No right is a voucher here.
  if (voucher_type != MACH_MSG_TYPE_PORT_NONE && header.msgh_voucher_port != MACH_PORT_NULL) {
    return MACH_SEND_INVALID_VOUCHER;
  }
  return copy_in_ports(message, header.msgh_remote_port, header.msgh_local_port, then);
}

mach_msg_return_t message_call::copy_in_ports(kmsg& message, mach_port_name_t to,
                                              mach_port_name_t reply_to, owed& then) {
  space& names = caller_.space;
  const mach_msg_bits_t bits = message.header().msgh_bits;
  mach_msg_type_name_t to_type = MACH_MSGH_BITS_REMOTE(bits);
  mach_msg_type_name_t reply_type = MACH_MSGH_BITS_LOCAL(bits);
  const bool has_reply = MACH_PORT_VALID(reply_to);

  entry* found = names.find(to);
  if (!found || (found->type & MACH_PORT_TYPE_PORT_RIGHTS) == 0) return MACH_SEND_INVALID_DEST;
  if (has_reply) {
    entry* reply_entry = names.find(reply_to);
    if (!reply_entry || reply_entry->type == MACH_PORT_TYPE_DEAD_NAME ||
        !may_copy_in(*reply_entry, reply_type)) {
      return MACH_SEND_INVALID_REPLY;
    }
    if (must_stay(*reply_entry, reply_type)) return MACH_SEND_INVALID_REPLY;
  }
  if (!may_copy_in(*found, to_type) || must_stay(*found, to_type)) return MACH_SEND_INVALID_DEST;

  if (message.complex) {
    if (to_type != MACH_MSG_TYPE_MOVE_SEND_ONCE && convert_if_dead(names, to, *found)) {
      return MACH_SEND_INVALID_DEST;
    }
    if (const mach_msg_return_t bad = check_body(message); bad != MACH_MSG_SUCCESS) return bad;
  }

  const auto take_reply = [&] {
    return copy_in(names, reply_to, *names.find(reply_to), reply_type, dead_policy::accept,
                   message.reply, then, answer_.guard, after_);
  };
  const auto take_destination = [&] {
    return copy_in(names, to, *names.find(to), to_type, dead_policy::refuse_untouched,
                   message.destination, then, answer_.guard, after_);
  };
  message.reply = {nullptr, static_cast<std::uint8_t>(arrives_as(reply_type)),
                   reply_to == MACH_PORT_DEAD};
  if (has_reply && reply_to == to) {
    const bool moves_both =
        to_type == MACH_MSG_TYPE_MOVE_SEND && reply_type == MACH_MSG_TYPE_MOVE_SEND;
    if (to_type == MACH_MSG_TYPE_MOVE_SEND_ONCE || reply_type == MACH_MSG_TYPE_MOVE_SEND_ONCE ||
        (moves_both && found->urefs < 2)) {
      return MACH_SEND_INVALID_DEST;
    }
    if (to_type == MACH_MSG_TYPE_MOVE_SEND && reply_type == MACH_MSG_TYPE_COPY_SEND) {
      // The copy first, whichever it is for: the move may take the last reference.
      std::swap(to_type, reply_type);
    }
  }
  const bool notifies = (state_.option & MACH_SEND_NOTIFY) && found->request != 0;
  if (take_destination() != KERN_SUCCESS) {
    message.reply = {};
    return MACH_SEND_INVALID_DEST;
  }
  if (notifies) {
    if (const entry* still = names.find(to); still && still->request != 0) {
      arm_send_possible(*message.destination.target, *still);
    }
  }
  if (has_reply) take_reply();
  return MACH_MSG_SUCCESS;
}

void message_call::arm_send_possible(port& to, const entry& found) noexcept {
  const std::lock_guard<mutex> locked(to.lock);
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

mach_msg_return_t message_call::copy_in_body(kmsg& message, owed& then) {
  space& names = caller_.space;
  const std::lock_guard<mutex> locked(names.lock);
  port& destination = *message.destination.target;
  std::byte* at = descriptors(message);
  for (std::uint32_t index = 0; index < message.right_count; ++index) {
    mach_msg_port_descriptor_t descriptor;
    std::memcpy(&descriptor, at, sizeof descriptor);
    carried_right& right = message.rights()[index];
    const mach_msg_type_name_t disposition = descriptor.disposition;
    if (!MACH_PORT_VALID(descriptor.name)) {
      right = {nullptr, static_cast<std::uint8_t>(arrives_as(disposition)),
               descriptor.name == MACH_PORT_DEAD};
    } else {
      entry* found = names.find(descriptor.name);
      if (!found || copy_in(names, descriptor.name, *found, disposition, dead_policy::accept, right,
                            then, answer_.guard, after_) != KERN_SUCCESS) {
        return MACH_SEND_INVALID_RIGHT;
      }
      if (right.disposition == MACH_MSG_TYPE_MOVE_RECEIVE &&
          after_.kernel.transit().bind(*right.target, destination)) {
        message.circular = true;
      }
    }
    std::memset(at, 0, sizeof descriptor);
    at += sizeof descriptor;
  }
  return MACH_MSG_SUCCESS;
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

  // terminate() must find the ticket in the task before it can stand in the queue.
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
  owed then;
  names.lock.lock();
  if (!names.active) {
    names.lock.unlock();
    after_.destroy_later(message);
    after_.reap();
    return done(MACH_SEND_INVALID_DEST);
  }
  header.msgh_bits = MACH_MSGH_BITS(mach_msg_bits_t{message->destination.disposition},
                                    mach_msg_bits_t{message->reply.disposition}) |
                     (message->complex ? MACH_MSGH_BITS_COMPLEX : 0u);
  mach_port_name_t name = MACH_PORT_NULL;
  if (copy_out(names, message->destination, name) != KERN_SUCCESS) why |= MACH_MSG_IPC_SPACE;
  header.msgh_remote_port = name;
  if (copy_out(names, message->reply, name) != KERN_SUCCESS) why |= MACH_MSG_IPC_SPACE;
  header.msgh_local_port = name;
  header.msgh_size = message->size;
  why |= copy_out_body(*message, then);
  names.lock.unlock();
  then.settle(after_);
  memory_.out(message->bytes(), state_.send_buffer, message->size);
  // What found no name is destroyed with the message.
  after_.destroy_later(message);
  after_.reap();
  return done(why);
}

}  // namespace kedge::mach::kernel
