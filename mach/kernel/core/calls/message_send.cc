// The sending half of mach_msg (Darwin: ipc_kmsg_get, ipc_kmsg_copyin_header, ipc_mqueue_send).
#include <mach/mig_errors.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

constexpr mach_msg_size_t max_body = 48u * 1024 * 1024 - sizeof(mach_msg_max_trailer_t);

// Whether the disposition would move away the last reference of a pinned right.
bool must_stay(const entry& held, mach_msg_type_name_t disposition) noexcept {
  return held.pinned && held.urefs == 1 && disposition == MACH_MSG_TYPE_MOVE_SEND;
}

bool is_voucher(const entry& held) noexcept {
  return (held.type & MACH_PORT_TYPE_SEND) && port_of(held).serves == kernel_object::voucher;
}

// Whether one name gives two rights with these dispositions. Swaps the dispositions if the second
// right must be taken first.
bool pair_up(const entry& held, mach_msg_type_name_t& first,
             mach_msg_type_name_t& second) noexcept {
  if (first == MACH_MSG_TYPE_MOVE_SEND_ONCE || second == MACH_MSG_TYPE_MOVE_SEND_ONCE) return false;
  if (first == MACH_MSG_TYPE_MOVE_SEND && second == MACH_MSG_TYPE_MOVE_SEND) {
    return held.urefs >= 2;
  }
  if (first == MACH_MSG_TYPE_MOVE_SEND && second == MACH_MSG_TYPE_COPY_SEND) {
    // The move may take the last reference, so the copy is made first, whichever port it is for.
    std::swap(first, second);
  }
  return true;
}

// Whether the destination takes messages only with a port that was made as a reply port, and
// `reply_to` is not such a port.
bool lacks_reply_port(const entry& to, const entry& reply_to) noexcept {
  if ((reply_to.type & MACH_PORT_TYPE_PORT_RIGHTS) == 0) return false;
  {
    port& reply = port_of(reply_to);
    const std::lock_guard hold(reply.lock);
    if (!reply.active || reply.reply || reply.provisional_reply) return false;
  }
  port& destination = port_of(to);
  const std::lock_guard hold(destination.lock);
  return destination.active && destination.wants_reply_port;
}

// Whether the reply port may serve for MACH_MSG_STRICT_REPLY. A dead one may (Darwin:
// ipc_kmsg_validate_reply_port_locked).
bool is_strict_reply(port& reply, const ipc_space& names, mach_msg_option_t option) noexcept {
  const std::lock_guard hold(reply.lock);
  if (!reply.active) return true;
  const bool wants_immovable =
      (option & MACH_RCV_GUARDED_DESC) != 0 && (option & MACH_RCV_MSG) == 0;
  return reply.receiver == &names && reply.send_once_rights == 1 && reply.send_rights <= 1 &&
         (!wants_immovable || reply.immovable);
}

// Consumes the send-once right of a reply port. Returns the name of the receive right in the space,
// MACH_PORT_NULL if the space does not hold it, or MACH_PORT_DEAD. Requires the space lock.
mach_port_name_t swallow_reply(const ipc_space& names, carried_right& right) noexcept {
  port* const reply = std::exchange(right.target, nullptr);
  mach_port_name_t name = MACH_PORT_NULL;
  {
    const std::lock_guard hold(reply->lock);
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

// Errors of class 1 of failed sends (mach/kernel/README.md) have consumed nothing. Those of class 2
// lose the rights of the header and of the descriptors that were taken.
status message_call::send() {
  const mach_msg_size_t size = state_.send_size;
  state_.stage = pending_call::phase::send;
  if (size < sizeof(mach_msg_header_t) || size % 4 != 0) return done(MACH_SEND_MSG_TOO_SMALL);
  if (size > max_body) return done(MACH_SEND_TOO_LARGE);
  kmsg* message = faults().happens(fault_point::message_memory)
                      ? nullptr
                      : cleanup_.owner.messages(this).take(size);
  if (!message) return done(MACH_SEND_NO_BUFFER);
  mach_msg_return_t result = MACH_SEND_INVALID_DATA;
  bool taken = false;
  if (memory_.in(state_.send_buffer, message->bytes(), size)) {
    mach_msg_header_t& header = message->header();
    end_destination(header);
    message->size = size;
    message->id = header.msgh_id;
    message->complex = MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits);
    result = MACH_SEND_MSG_TOO_SMALL;
    if (!message->complex || size >= sizeof(mach_msg_base_t)) {
      message->sender = caller_.credentials.security;
      message->audit = caller_.credentials.audit;
      deferred_notifications deferred;
      const right_context context{caller_.names, deferred, reply_.guard, cleanup_};
      result = copy_in_header(context, *message);
      taken = result == MACH_MSG_SUCCESS;
      if (taken) result = copy_in_rest(context, *message);
      deferred.flush(cleanup_);
    }
  }
  if (result == MACH_MSG_SUCCESS) return post_or_park(message);
  if (taken) {
    // Class 2.
    cleanup_.destroy_later(message);
    cleanup_.reap();
  } else {
    kmsg_pool::give_back(message);
  }
  return done(result);
}

// Ends the task that the message is for, if the plan of faults says so.
void message_call::end_destination(const mach_msg_header_t& header) {
  if (!faults().planned()) [[likely]]
    return;
  ref<port> to;
  {
    const std::lock_guard hold(caller_.names.lock);
    const entry* const found = caller_.names.find(header.msgh_remote_port);
    if (!found || !(found->type & MACH_PORT_TYPE_SEND_RIGHTS)) return;
    to = ref<port>(&port_of(*found));
  }
  cleanup_.owner.end_receiver(*to, caller_, fault_point::death_before);
}

bool message_call::is_strict() const noexcept {
  return (state_.option & MACH_MSG_STRICT_REPLY) && cleanup_.owner.strict_replies();
}

mach_msg_return_t message_call::copy_in_rest(const right_context& context, kmsg& message) {
  if (is_strict() && message.reply.target &&
      !is_strict_reply(*message.reply.target, caller_.names, state_.option)) {
    reply_.guard = {kGUARD_EXC_STRICT_REPLY, message.header().msgh_local_port,
                    MPG_FLAGS_STRICT_REPLY_INVALID_REPLY_PORT | KERN_INVALID_CAPABILITY};
    return MACH_SEND_INVALID_REPLY;
  }
  if (!message.complex) return MACH_MSG_SUCCESS;
  if (!cleanup_.owner.os_profile().checks_descriptors_first()) {
    const mach_msg_return_t bad = check_body(message);
    // Darwin has allocated the message with room for its descriptors, and fails here only for a
    // lack of the kernel's own addresses: MACH_SEND_NO_BUFFER would say that nothing was consumed.
    if (bad == MACH_SEND_NO_BUFFER) return MACH_MSG_VM_KERNEL;
    if (bad != MACH_MSG_SUCCESS) return bad;
  }
  return copy_in_body(context, message);
}

mach_msg_return_t message_call::invalid_voucher(const mach_msg_header_t& header) noexcept {
  reply_.guard = {kGUARD_EXC_SEND_INVALID_VOUCHER, header.msgh_voucher_port, 0};
  return MACH_SEND_INVALID_VOUCHER;
}

// Checks what a header shows without a look at names (Darwin: ipc_kmsg_copyin_header_validate).
mach_msg_return_t message_call::check_header(mach_msg_header_t& header) noexcept {
  const profile answers = cleanup_.owner.os_profile();
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
  if (bad_voucher && answers.checks_voucher_before_destination()) return invalid_voucher(header);
  if (!MACH_MSG_TYPE_PORT_ANY_SEND(to_type)) return MACH_SEND_INVALID_HEADER;
  if (!MACH_PORT_VALID(header.msgh_remote_port)) return MACH_SEND_INVALID_DEST;
  return bad_voucher ? invalid_voucher(header) : MACH_MSG_SUCCESS;
}

mach_msg_return_t message_call::copy_in_header(const right_context& context, kmsg& message) {
  mach_msg_header_t& header = message.header();
  const mach_msg_return_t bad = check_header(header);
  if (bad != MACH_MSG_SUCCESS) return bad;
  ipc_space& names = context.names;
  const std::lock_guard hold(names.lock);
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
  return copy_in_ports(context, message);
}

// Whether the reply port can be copied in, whatever becomes of the destination. Requires the space
// lock.
bool message_call::is_reply_port(const mach_msg_header_t& header) noexcept {
  const mach_port_name_t name = header.msgh_local_port;
  const mach_msg_type_name_t type = MACH_MSGH_BITS_LOCAL(header.msgh_bits);
  const entry* const found = caller_.names.find(name);
  if (!found || must_stay(*found, type)) return false;
  if (found->type == MACH_PORT_TYPE_DEAD_NAME && cleanup_.owner.os_profile().refuses_dead_reply()) {
    return false;
  }
  if (found->type & MACH_PORT_TYPE_PORT_RIGHTS) {
    port& target = port_of(*found);
    const std::lock_guard hold(target.lock);
    if (target.active && target.reply && type != MACH_MSG_TYPE_MAKE_SEND_ONCE) return false;
    if (target.active && target.immovable_send && type != MACH_MSG_TYPE_MAKE_SEND &&
        type != MACH_MSG_TYPE_MAKE_SEND_ONCE) {
      reply_.guard = {kGUARD_EXC_IMMOVABLE, name, 0};
      return false;
    }
  }
  const bool is_voucher_too = MACH_MSGH_BITS_VOUCHER(header.msgh_bits) != MACH_MSG_TYPE_PORT_NONE &&
                              header.msgh_voucher_port == name;
  return !is_voucher_too && may_copy_in(*found, type);
}

// How the rights of a header are copied in.
struct message_call::header_dispositions {
  mach_msg_type_name_t destination;
  mach_msg_type_name_t reply;
  mach_msg_type_name_t voucher;
};

// Checks that the three names of the header hold what the dispositions ask for. May swap
// dispositions (pair_up). Requires the space lock.
mach_msg_return_t message_call::check_ports(const right_context& context, kmsg& message,
                                            header_dispositions& types) {
  const profile answers = cleanup_.owner.os_profile();
  const mach_msg_header_t& header = message.header();
  const mach_port_name_t to = header.msgh_remote_port;
  const mach_port_name_t reply_to = header.msgh_local_port;
  const bool has_reply = MACH_PORT_VALID(reply_to);
  const bool has_voucher =
      types.voucher != MACH_MSG_TYPE_PORT_NONE && header.msgh_voucher_port != MACH_PORT_NULL;

  entry* const found = context.names.find(to);
  const bool is_port = found && (found->type & MACH_PORT_TYPE_PORT_RIGHTS) != 0;
  if (!found || (!is_port && answers.checks_destination_before_reply())) {
    return MACH_SEND_INVALID_DEST;
  }
  if (has_reply && !is_reply_port(header)) {
    if (reply_.guard.code == 0) reply_.guard = {kGUARD_EXC_SEND_INVALID_REPLY, reply_to, 0};
    return MACH_SEND_INVALID_REPLY;
  }
  if (has_reply && is_port && lacks_reply_port(*found, *context.names.find(reply_to)))
      [[unlikely]] {
    reply_.guard = {kGUARD_EXC_REQUIRE_REPLY_PORT_SEMANTICS, reply_to, 0};
    return MACH_SEND_INVALID_REPLY;
  }
  if (!is_port || !may_copy_in(*found, types.destination) || must_stay(*found, types.destination)) {
    return MACH_SEND_INVALID_DEST;
  }
  // A send-once right to a dead port passes, unless the name is a dead name already or has a
  // request that must make it one.
  if ((types.destination != MACH_MSG_TYPE_MOVE_SEND_ONCE || found->request != 0) &&
      convert_if_dead(context.names, to, *found)) {
    return MACH_SEND_INVALID_DEST;
  }
  if ((has_voucher && header.msgh_voucher_port == to &&
       !pair_up(*found, types.destination, types.voucher)) ||
      (has_reply && reply_to == to && !pair_up(*found, types.destination, types.reply))) {
    return MACH_SEND_INVALID_DEST;
  }
  return message.complex && answers.checks_descriptors_first() ? check_body(message)
                                                               : MACH_MSG_SUCCESS;
}

// Copies in the three names of the header, all or none. Requires the space lock.
mach_msg_return_t message_call::copy_in_ports(const right_context& context, kmsg& message) {
  ipc_space& names = context.names;
  const mach_msg_header_t& header = message.header();
  header_dispositions types{MACH_MSGH_BITS_REMOTE(header.msgh_bits),
                            MACH_MSGH_BITS_LOCAL(header.msgh_bits),
                            MACH_MSGH_BITS_VOUCHER(header.msgh_bits)};
  const mach_msg_return_t bad = check_ports(context, message, types);
  if (bad != MACH_MSG_SUCCESS) return bad;

  const auto take = [&](mach_port_name_t name, const copy_in_mode& mode, carried_right& right) {
    return copy_in(context, name, *names.find(name), mode, right);
  };
  const mach_port_name_t to = header.msgh_remote_port;
  const bool notifies = (state_.option & MACH_SEND_NOTIFY) && names.find(to)->request != 0 &&
                        arrives_as(types.destination) != MACH_MSG_TYPE_MOVE_SEND_ONCE;
  if (take(to, {types.destination, copy_in_use::destination}, message.destination) !=
      KERN_SUCCESS) {
    return MACH_SEND_INVALID_DEST;
  }
  if (notifies) {
    if (const entry* still = names.find(to); still && still->request != 0) {
      arm_send_possible(*message.destination.target, *still);
    }
  }
  const mach_port_name_t reply_to = header.msgh_local_port;
  message.reply = {nullptr, static_cast<std::uint8_t>(arrives_as(types.reply)),
                   reply_to == MACH_PORT_DEAD};
  if (MACH_PORT_VALID(reply_to)) take(reply_to, {types.reply, copy_in_use::reply}, message.reply);
  if (types.voucher != MACH_MSG_TYPE_PORT_NONE) {
    message.voucher.disposition = MACH_MSG_TYPE_MOVE_SEND;
    if (header.msgh_voucher_port != MACH_PORT_NULL) {
      take(header.msgh_voucher_port, {types.voucher}, message.voucher);
    }
  }
  return MACH_MSG_SUCCESS;
}

// Arms the send-possible request of the name if the queue is full; otherwise the message has room.
void message_call::arm_send_possible(port& to, const entry& held) noexcept {
  const std::lock_guard hold(to.lock);
  if (!to.active) return;
  name_request& request = to.requests[held.request];
  if (!request.notify || !request.send_possible) return;
  if (to.full()) {
    request.armed = true;
    to.send_possible_armed = true;
  } else {
    always_ = true;
  }
}

// Destroys a message that is not sent, and ends the call with `result`. MACH_MSG_SUCCESS is class 4
// of failed sends.
status message_call::destroy_unsent(kmsg* message, mach_msg_return_t result) {
  cleanup_.destroy_later(message);
  cleanup_.reap();
  return done(result);
}

status message_call::post_or_park(kmsg* message) {
  const ref<port> to(faults().planned() ? message->destination.target : nullptr);
  if (to) cleanup_.owner.end_receiver(*to, caller_, fault_point::death_during);
  for (;;) {
    status now = status::parked;
    if (!try_post(message, now) && !try_park(message, now)) {
      // A message was received concurrently: there may be room now.
      continue;
    }
    if (to && now == status::parked) {
      cleanup_.owner.end_receiver(*to, caller_, fault_point::death_during);
    } else if (to && reply_.result == MACH_MSG_SUCCESS) {
      cleanup_.owner.end_receiver(*to, caller_, fault_point::death_after);
    }
    return now;
  }
}

// Posts the message, or fails, and writes the status to `now`. Returns false, with nothing changed,
// if the call has to wait for room (Darwin: ipc_mqueue_send_locked).
bool message_call::try_post(kmsg* message, status& now) {
  port& to = *message->destination.target;
  object_lock locked(to.lock);
  if (to.is_kernels() && to.active) {
    locked.unlock();
    serve(message);
    now = done(MACH_MSG_SUCCESS);
    return true;
  }
  if (!to.active || message->circular) {
    locked.unlock();
    now = destroy_unsent(message, MACH_MSG_SUCCESS);
    return true;
  }
  const bool by_once = message->destination.disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  const bool ignores_limit = always_ || by_once;
  const bool at_ceiling =
      to.at_ceiling() || (by_once && faults().happens(fault_point::queue_ceiling));
  // A sender that waits would find out that there is room.
  const bool full =
      at_ceiling || to.full() ||
      (state_.poll_send && !ignores_limit && faults().happens(fault_point::full_queue));
  const bool passes = !full || (ignores_limit && !at_ceiling);
  if (passes && to.queue().reserve(*message)) {
    if (post(to, message, cleanup_)) {
      reply_.as<replies::message>().awakened = name_of_awakened(to, caller_.names);
    }
    now = done(MACH_MSG_SUCCESS);
    return true;
  }
  const bool times_out = !passes && state_.poll_send;
  if (!times_out && !passes && !at_ceiling) return false;
  locked.unlock();
  now = send_failed(message, times_out ? MACH_SEND_TIMED_OUT : MACH_SEND_NO_BUFFER);
  return true;
}

// Parks the call, or destroys the message of a task that has ended, and writes the status to `now`.
// Returns false, with nothing changed, if the port is not full any more.
bool message_call::try_park(kmsg* message, status& now) {
  if (faults().happens(fault_point::interruption)) {
    now = send_failed(message, MACH_SEND_INTERRUPTED);
    return true;
  }
  port& to = *message->destination.target;
  // terminate() must find the call in the task before the call can be in the queue.
  state_.message = message;
  state_.waits_on = ref<object>(&to);
  caller_.add(state_);
  {
    const std::lock_guard hold(to.lock);
    if (!caller_.terminated() && to.active && to.full()) {
      now = park(to.senders);
      return true;
    }
  }
  caller_.remove(state_);
  state_.waits_on = {};
  state_.message = nullptr;
  if (!caller_.terminated()) return false;
  now = destroy_unsent(message, MACH_SEND_INVALID_DEST);
  return true;
}

void message_call::serve(kmsg* message) {
  // Messages do not reach the kernel's MIG servers here. The answer is MIG_BAD_ID, as for an
  // unknown routine.
  kmsg* answer =
      message->reply.target ? cleanup_.owner.messages().take(sizeof(mig_reply_error_t)) : nullptr;
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
    post_from_kernel(answer, cleanup_);
  }
  cleanup_.destroy_later(message);
  cleanup_.reap();
}

// Gives the message back to the sender, with new names (Darwin: ipc_kmsg_copyout_pseudo). Class 3
// of failed sends.
status message_call::send_failed(kmsg* message, mach_msg_return_t why) {
  bool alive = false;
  {
    const std::lock_guard hold(caller_.names.lock);
    alive = caller_.names.active;
    if (alive) why |= return_header(*message);
  }
  if (!alive) return destroy_unsent(message, MACH_SEND_INVALID_DEST);
  if (message->complex) why |= copy_out_body(*message, true);
  message->header().msgh_size = message->size;
  memory_.out(message->bytes(), state_.send_buffer, message->size);
  // Rights that got no name are destroyed with the message.
  return destroy_unsent(message, why);
}

// Puts the rights of the header back into the sender's space. Returns MACH_MSG_IPC_SPACE if a right
// got no name. Requires the space lock.
mach_msg_return_t message_call::return_header(kmsg& message) {
  ipc_space& names = caller_.names;
  mach_msg_header_t& header = message.header();
  mach_msg_return_t result = MACH_MSG_SUCCESS;
  const bool copied_voucher = MACH_MSGH_BITS_VOUCHER(header.msgh_bits) == MACH_MSG_TYPE_COPY_SEND &&
                              message.voucher.target != nullptr;
  header.msgh_bits =
      MACH_MSGH_BITS_SET(message.destination.disposition, message.reply.disposition,
                         copied_voucher ? MACH_MSG_TYPE_COPY_SEND : message.voucher.disposition,
                         message.complex ? MACH_MSGH_BITS_COMPLEX : 0u);
  mach_port_name_t name = MACH_PORT_NULL;
  if (copy_out(names, message.destination, name) != KERN_SUCCESS) result = MACH_MSG_IPC_SPACE;
  header.msgh_remote_port = name;
  if (message.reply.target && message.reply.target->reply) {
    // A reply port gets no send-once right back: its receive right is named, to make one again.
    name = swallow_reply(names, message.reply);
    if (MACH_PORT_VALID(name)) {
      header.msgh_bits &= ~std::uint32_t{MACH_MSGH_BITS_LOCAL_MASK};
      header.msgh_bits |= MACH_MSGH_BITS(0u, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    }
  } else if (copy_out(names, message.reply, name) != KERN_SUCCESS) {
    result = MACH_MSG_IPC_SPACE;
  }
  header.msgh_local_port = name;
  // The name of a copied voucher is still in the header. The copy is destroyed with the message.
  if (message.voucher.target && !copied_voucher) {
    if (copy_out(names, message.voucher, name) != KERN_SUCCESS) result = MACH_MSG_IPC_SPACE;
    header.msgh_voucher_port = name;
  }
  return result;
}

}  // namespace kedge::mach::kernel
