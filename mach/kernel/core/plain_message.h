// The calls of mach_msg that nearly all are: sending a message that carries no right but its
// destination's, a copied send right, to a port that has room; and taking such a message that is
// there. They do in one look-up, under one lock of the port, what message_call does in steps.
//
// A template and inline, since most of what they cost would be the calls between their parts.
// `Memory` reaches the caller's memory as copyio does.
#pragma once

#include <mutex>

#include "kedge/mach/kernel/core/aftermath.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/trailer.h"

namespace kedge::mach::kernel {

template <typename Memory>
class plain_message {
 public:
  plain_message(kernel& in, ipc_task& caller, Memory memory) noexcept
      : after_(in), caller_(caller), memory_(memory) {}

  // Does a mach_msg call if it is one of these. False: it is another one, or this one would wait,
  // fail, or owe somebody a notification; nothing has happened, and it is message_call's to do.
  bool pass(const request& what, reply& answer) noexcept {
    const auto option = static_cast<mach_msg_option_t>(what.words[0]);
    switch (option & (MACH_SEND_MSG | MACH_RCV_MSG | beyond_sending)) {
      case MACH_SEND_MSG:
        return send(what.words[6], static_cast<mach_msg_size_t>(what.words[1]));
      case MACH_RCV_MSG:
        return what.words[7] != 0 && receive(what, option, answer);
      default:
        return false;
    }
  }

 private:
  // What asks for more than to be sent, or taken.
  static constexpr mach_msg_option_t beyond_sending = MACH_SEND_NOTIFY | MACH_MSG_STRICT_REPLY;
  static constexpr mach_msg_size_t largest = 8192;
  static constexpr mach_msg_bits_t copied_send_right = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);

  static bool is_plain(const kmsg& message) noexcept {
    return message.destination.disposition == MACH_MSG_TYPE_MOVE_SEND && !message.complex &&
           message.reply.disposition == MACH_MSG_TYPE_PORT_NONE &&
           message.voucher.disposition == MACH_MSG_TYPE_PORT_NONE;
  }

  bool send(user_address buffer, mach_msg_size_t size) noexcept {
    mach_msg_bits_t bits = 0;
    if (size < sizeof(mach_msg_header_t) || size % 4 != 0 || size > largest || buffer == 0 ||
        !memory_.in(buffer, &bits, sizeof bits) || bits != copied_send_right) {
      return false;
    }
    kmsg* const message = after_.kernel.messages(&caller_).take(size);
    if (!message) return false;
    if (!memory_.in(buffer, message->bytes(), size) || !post_to_destination(*message, size)) {
      kmsg_pool::recycle(message);
      return false;
    }
    return true;
  }

  // The message is whole but for what it carries. Its header is looked at once more: the caller's
  // memory may change meanwhile.
  bool post_to_destination(kmsg& message, mach_msg_size_t size) noexcept {
    const mach_msg_header_t& header = message.header();
    if (header.msgh_bits != copied_send_right || header.msgh_local_port != MACH_PORT_NULL) {
      return false;
    }
    space& names = caller_.space;
    std::unique_lock<mutex> hold_names(names.lock);
    const entry* const found = names.active ? names.find(header.msgh_remote_port) : nullptr;
    if (!found || !(found->type & MACH_PORT_TYPE_SEND)) return false;
    port& to = static_cast<port&>(*found->target);
    const std::lock_guard<mutex> hold(to.lock);
    if (!to.active || to.serves != kernel_object::none || to.full() ||
        !to.queue().reserve(message)) {
      return false;
    }
    ++to.send_rights;
    to.retain();
    hold_names.unlock();
    message.destination = {&to, MACH_MSG_TYPE_MOVE_SEND, false};
    message.size = size;
    message.id = header.msgh_id;
    message.sender = caller_.who.security;
    message.audit = caller_.who.audit;
    post(to, &message, after_);
    return true;
  }

  // Takes the oldest message of the port under the name, if it is a plain one that fits, and the
  // send right that it came by. `name` becomes the one that the port is received under.
  kmsg* take_plain(mach_port_name_t& name, mach_msg_size_t room) noexcept {
    space& names = caller_.space;
    std::unique_lock<mutex> hold_names(names.lock);
    const entry* const found = names.active ? names.find(name) : nullptr;
    if (!found || !(found->type & MACH_PORT_TYPE_RECEIVE)) return nullptr;
    port& from = static_cast<port&>(*found->target);
    std::unique_lock<mutex> hold(from.lock);
    hold_names.unlock();
    const kmsg* const oldest = from.receiver == &names ? from.queue().peek() : nullptr;
    const bool owes = from.send_possible_armed || (from.send_rights == 1 && from.no_senders);
    if (!oldest || owes || !is_plain(*oldest) || oldest->size > room) return nullptr;
    kmsg* const message = take(from, after_);
    name = from.receiver_name;
    --from.send_rights;
    hold.unlock();
    message->destination = {};
    from.release();
    return message;
  }

  bool receive(const request& what, mach_msg_option_t option, reply& answer) noexcept {
    const auto size = static_cast<mach_msg_size_t>(what.words[2]);
    const mach_msg_size_t trailer = REQUESTED_TRAILER_SIZE(option);
    if (size < trailer) return false;
    auto name = static_cast<mach_port_name_t>(what.words[3]);
    kmsg* const message = take_plain(name, size - trailer);
    if (!message) return false;
    mach_msg_header_t& header = message->header();
    header.msgh_bits = MACH_MSGH_BITS(0, MACH_MSG_TYPE_MOVE_SEND);
    header.msgh_size = message->size;
    header.msgh_remote_port = MACH_PORT_NULL;
    header.msgh_local_port = name;
    add_trailer(*message, option, message->bytes() + message->size);
    answer.words[0] = message->size + trailer;
    const bool written = memory_.out(message->bytes(), what.words[7], message->size + trailer);
    answer.result = written ? MACH_MSG_SUCCESS : MACH_RCV_INVALID_DATA;
    kmsg_pool::recycle(message);
    return true;
  }

  aftermath after_;
  ipc_task& caller_;
  [[no_unique_address]] Memory memory_;
};

}  // namespace kedge::mach::kernel
