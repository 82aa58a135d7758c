// The calls of mach_msg that nearly all are: sending a message by a copied send right to a port
// that has room, with no reply port and no descriptors but a few ports'; and taking such a message
// that is there. They do at once what message_call does in steps.
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
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/core/trailer.h"

namespace kedge::mach::kernel {

template <typename Memory>
class plain_message {
 public:
  plain_message(kernel& in, ipc_task& caller, reply& answer, Memory memory) noexcept
      : after_(in), caller_(caller), answer_(answer), memory_(memory) {}

  // Does a mach_msg call if it is one of these. False: it is another one, or this one would wait,
  // fail, or owe somebody a notification; nothing has happened, and it is message_call's to do.
  bool pass(const request& what) noexcept {
    const auto option = static_cast<mach_msg_option_t>(what.words[0]);
    switch (option & (MACH_SEND_MSG | MACH_RCV_MSG | beyond_sending)) {
      case MACH_SEND_MSG:
        return send(what.words[6], static_cast<mach_msg_size_t>(what.words[1]));
      case MACH_RCV_MSG:
        return what.words[7] != 0 && receive(what, option);
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
    return message.destination.disposition == MACH_MSG_TYPE_MOVE_SEND &&
           (!message.complex || message.only_few_ports) &&
           message.reply.disposition == MACH_MSG_TYPE_PORT_NONE &&
           message.voucher.disposition == MACH_MSG_TYPE_PORT_NONE;
  }

  bool send(user_address buffer, mach_msg_size_t size) noexcept {
    mach_msg_bits_t bits = 0;
    if (size < sizeof(mach_msg_header_t) || size % 4 != 0 || size > largest || buffer == 0 ||
        !memory_.in(buffer, &bits, sizeof bits) ||
        (bits & ~mach_msg_bits_t{MACH_MSGH_BITS_COMPLEX}) != copied_send_right) {
      return false;
    }
    kmsg* const message = after_.kernel.messages(this).take(size);
    if (!message) return false;
    message->size = size;
    if (memory_.in(buffer, message->bytes(), size)) {
      // Looked at once more: the caller's memory may change meanwhile.
      const mach_msg_header_t& header = message->header();
      message->id = header.msgh_id;
      message->sender = caller_.who.security;
      message->audit = caller_.who.audit;
      if (header.msgh_local_port == MACH_PORT_NULL &&
          (header.msgh_bits == copied_send_right ? post_without_rights(*message)
                                                 : post_with_rights(*message))) {
        return true;
      }
    }
    kmsg_pool::recycle(message);
    return false;
  }

  // The port under the name, locked, with room set aside for the message and a send right taken for
  // it; or null. The space, or a part of its lock, is locked.
  port* lock_destination(kmsg& message) noexcept {
    space& names = caller_.space;
    const entry* const found =
        names.active ? names.find(message.header().msgh_remote_port) : nullptr;
    if (!found || !(found->type & MACH_PORT_TYPE_SEND)) return nullptr;
    port& to = static_cast<port&>(*found->target);
    to.lock.lock();
    if (!to.active || to.serves != kernel_object::none || to.full() ||
        !to.queue().reserve(message)) {
      to.lock.unlock();
      return nullptr;
    }
    ++to.send_rights;
    to.retain();
    message.destination = {&to, MACH_MSG_TYPE_MOVE_SEND, false};
    return &to;
  }

  bool post_without_rights(kmsg& message) noexcept {
    mutex& names = caller_.space.lock.part_near(this);
    names.lock();
    port* const to = lock_destination(message);
    names.unlock();
    if (!to) return false;
    post(*to, &message, after_);
    to->lock.unlock();
    return true;
  }

  bool post_with_rights(kmsg& message) noexcept {
    std::byte* const body = message.bytes() + sizeof(mach_msg_base_t);
    std::unique_lock names(caller_.space.lock);
    const std::uint32_t count = count_ports(message);
    port* const to = count != 0 ? lock_destination(message) : nullptr;
    if (!to) return false;
    to->lock.unlock();
    message.complex = message.only_few_ports = true;
    message.right_count = count;
    owed then;
    kern_return_t result = KERN_SUCCESS;
    for (std::uint32_t index = 0; index < count && result == KERN_SUCCESS; ++index) {
      result = take_port(reinterpret_cast<mach_msg_port_descriptor_t*>(body)[index],
                         message.rights()[index], then);
    }
    names.unlock();
    then.settle(after_);
    to->lock.lock();
    if (result == KERN_SUCCESS && to->active) {
      post(*to, &message, after_);
      to->lock.unlock();
      return true;
    }
    // Class 2 or 4 of failed sends: what was taken is lost.
    to->queue().abort(message);
    to->lock.unlock();
    after_.destroy_later(&message);
    after_.reap();
    if (answer_.guard.code != 0) caller_.guards.apply(answer_.guard);
    if (result != KERN_SUCCESS) answer_.result = MACH_SEND_INVALID_RIGHT;
    return true;
  }

  kern_return_t take_port(const mach_msg_port_descriptor_t& from, carried_right& right,
                          owed& then) noexcept {
    space& names = caller_.space;
    entry* const found = names.find(from.name);
    if (!found) return KERN_INVALID_NAME;  // an earlier descriptor has moved it away
    if (from.disposition == MACH_MSG_TYPE_COPY_SEND && copy_send_right(*found, right)) {
      return KERN_SUCCESS;
    }
    return copy_in(names, from.name, *found, from.disposition, purpose::carrying, right, then,
                   answer_.guard, after_);
  }

  // How many port descriptors the message has; 0 if it has others, too many, or one of them might
  // not be copied in. The space is locked.
  std::uint32_t count_ports(kmsg& message) noexcept {
    if (message.size < sizeof(mach_msg_base_t)) return 0;
    const auto& base = *reinterpret_cast<const mach_msg_base_t*>(message.bytes());
    const std::uint32_t count = base.body.msgh_descriptor_count;
    const auto* each = reinterpret_cast<const mach_msg_port_descriptor_t*>(&base + 1);
    if (count > kmsg::few || message.size < sizeof base + count * sizeof *each) return 0;
    for (const auto* const end = each + count; each != end; ++each) {
      if (each->type != MACH_MSG_PORT_DESCRIPTOR) return 0;
      const entry* const found = caller_.space.find(each->name);
      if (!found) return 0;
      const bool copied = each->disposition == MACH_MSG_TYPE_COPY_SEND;
      if (!copied && each->disposition != MACH_MSG_TYPE_MOVE_SEND) return 0;
      if (!(found->type & MACH_PORT_TYPE_SEND)) return 0;
    }
    return count;
  }

  // Takes the oldest message of the port under the name, if it is a plain one that fits, and the
  // send right that it came by. `name` becomes the one that the port is received under.
  kmsg* take_plain(mach_port_name_t& name, mach_msg_size_t room) noexcept {
    space& names = caller_.space;
    std::unique_lock hold_names(names.lock.part_near(this));
    const entry* const found = names.active ? names.find(name) : nullptr;
    if (!found || !(found->type & MACH_PORT_TYPE_RECEIVE)) return nullptr;
    port& from = static_cast<port&>(*found->target);
    std::unique_lock hold(from.lock);
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

  bool receive(const request& what, mach_msg_option_t option) noexcept {
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
    if (message->complex) answer_.result = copy_out_ports(*message);
    add_trailer(*message, option, message->bytes() + message->size);
    answer_.words[0] = message->size + trailer;
    if (!memory_.out(message->bytes(), what.words[7], message->size + trailer)) {
      answer_.result = MACH_RCV_INVALID_DATA;
    }
    if (answer_.result == MACH_MSG_SUCCESS) {
      message->complex = message->only_few_ports = false;
      message->right_count = 0;
      kmsg_pool::recycle(message);
    } else {
      after_.destroy_later(message);
      after_.reap();
    }
    return true;
  }

  mach_msg_return_t copy_out_ports(kmsg& message) noexcept {
    message.header().msgh_bits |= MACH_MSGH_BITS_COMPLEX;
    auto* each =
        reinterpret_cast<mach_msg_port_descriptor_t*>(message.bytes() + sizeof(mach_msg_base_t));
    mach_msg_return_t result = MACH_MSG_SUCCESS;
    const std::lock_guard hold(caller_.space.lock);
    each += message.right_count;
    // From the last to the first, as body_copy_out.
    for (std::uint32_t index = message.right_count; index > 0; --index) {
      carried_right& right = message.rights()[index - 1];
      *--each = {};
      each->disposition = right.disposition;
      each->type = MACH_MSG_PORT_DESCRIPTOR;
      if (copy_out(caller_.space, right, each->name) != KERN_SUCCESS) {
        result = MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE;
      }
    }
    return result;
  }

  aftermath after_;
  ipc_task& caller_;
  reply& answer_;
  [[no_unique_address]] Memory memory_;
};

}  // namespace kedge::mach::kernel
