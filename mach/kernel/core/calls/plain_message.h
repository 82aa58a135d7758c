// The calls of mach_msg that nearly all are: sending a message by a copied send right to a port
// that has room, with no reply port and no descriptors but a few ports'; and taking such a message
// that is there. They do at once what message_call does in steps.
//
// A template and inline, since most of what they cost would be the calls between their parts.
// `Memory` reaches the caller's memory as copyio does, by static functions. `alone`: the process
// has one thread, and nothing needs to be locked.
#pragma once

#include <array>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/core/trailer.h"

namespace kedge::mach::kernel {

template <typename Memory, bool alone>
class plain_message {
 public:
  plain_message(kernel& in, ipc_task& caller, any_reply& reply) noexcept
      : after_(in), caller_(caller), reply_(reply) {}

  // Does a mach_msg call if it is one of these. False: it is another one, or this one would wait,
  // fail, or owe somebody a notification; nothing has happened, and it is message_call's to do.
  bool pass(const requests::message& request) noexcept {
    switch (request.option & (MACH_SEND_MSG | MACH_RCV_MSG | beyond_sending)) {
      case MACH_SEND_MSG:
        return send(request.send, request.send_size);
      case MACH_RCV_MSG:
        return request.receive != 0 && receive(request);
      default:
        return false;
    }
  }

 private:
  // What asks for more than to be sent, or taken.
  static constexpr mach_msg_option_t beyond_sending = MACH_SEND_NOTIFY | MACH_MSG_STRICT_REPLY;
  static constexpr mach_msg_size_t largest = 8192;
  static constexpr mach_msg_bits_t copied_send_right = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);

  template <typename Lock>
  static void lock(Lock& what) noexcept {
    if constexpr (!alone) what.lock();
  }
  template <typename Lock>
  static void unlock(Lock& what) noexcept {
    if constexpr (!alone) what.unlock();
  }

  static bool is_plain(const kmsg& message) noexcept {
    return message.destination.disposition == MACH_MSG_TYPE_MOVE_SEND &&
           (!message.complex || message.only_few_ports) &&
           message.reply.disposition == MACH_MSG_TYPE_PORT_NONE &&
           message.voucher.disposition == MACH_MSG_TYPE_PORT_NONE;
  }

  bool send(user_address buffer, mach_msg_size_t size) noexcept {
    mach_msg_bits_t bits = 0;
    if (size < sizeof(mach_msg_header_t) || size % 4 != 0 || size > largest || buffer == 0 ||
        !Memory::in(buffer, &bits, sizeof bits) ||
        (bits & ~mach_msg_bits_t{MACH_MSGH_BITS_COMPLEX}) != copied_send_right) {
      return false;
    }
    kmsg* const message = after_.kernel.messages(this).take(size);
    if (!message) return false;
    message->size = size;
    if (Memory::in(buffer, message->bytes(), size)) {
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
    lock(to.lock);
    if (!to.active || to.serves != kernel_object::none || to.full() ||
        !to.queue().reserve(message)) {
      unlock(to.lock);
      return nullptr;
    }
    ++to.send_rights;
    to.retain();
    message.destination = {&to, MACH_MSG_TYPE_MOVE_SEND, false};
    return &to;
  }

  bool post_without_rights(kmsg& message) noexcept {
    base::mutex& names = caller_.space.lock.part_near(this);
    lock(names);
    port* const to = lock_destination(message);
    unlock(names);
    if (!to) return false;
    post(*to, &message, after_);
    unlock(to->lock);
    return true;
  }

  bool post_with_rights(kmsg& message) noexcept {
    space& names = caller_.space;
    std::array<entry*, kmsg::few> from;
    lock(names.lock);
    const std::uint32_t count = find_ports(message, from);
    port* const to = count != 0 ? lock_destination(message) : nullptr;
    if (!to) {
      unlock(names.lock);
      return false;
    }
    unlock(to->lock);
    message.complex = message.only_few_ports = true;
    const mach_msg_port_descriptor_t* const each = descriptors(message);
    std::uint32_t taken = 0;
    while (taken < count &&
           take_send_right(*from[taken], each[taken].disposition, message.rights()[taken])) {
      ++taken;
    }
    message.right_count = taken;
    kern_return_t result = KERN_SUCCESS;
    if (taken == count) {
      unlock(names.lock);
    } else {
      result = take_rest(message, count);
    }
    lock(to->lock);
    if (result == KERN_SUCCESS && to->active) {
      post(*to, &message, after_);
      unlock(to->lock);
    } else {
      lose(message, *to, result);
    }
    return true;
  }

  // The message, which has been made of rights of the caller's, cannot arrive (class 2 or 4 of
  // failed sends). The port is locked; afterwards it is not.
  void lose(kmsg& message, port& to, kern_return_t why) noexcept {
    to.queue().abort(message);
    unlock(to.lock);
    after_.destroy_later(&message);
    after_.reap();
    if (reply_.guard.code != 0) caller_.guards.apply(reply_.guard);
    if (why != KERN_SUCCESS) reply_.result = MACH_SEND_INVALID_RIGHT;
  }

  // What copy_in does with a send right whose name stays. False: it is something else, nothing has
  // happened. The space is locked.
  static bool take_send_right(entry& from, mach_msg_type_name_t disposition,
                              carried_right& right) noexcept {
    if (!(from.type & MACH_PORT_TYPE_SEND)) return false;
    const bool moved = disposition == MACH_MSG_TYPE_MOVE_SEND;
    const bool last = moved && from.urefs == 1;
    if (last && !(from.type & MACH_PORT_TYPE_RECEIVE)) return false;
    port& target = static_cast<port&>(*from.target);
    lock(target.lock);
    const bool is_good = target.active && !target.reply && !target.immovable_send;
    if (is_good) {
      if (last) {
        from.type = MACH_PORT_TYPE_RECEIVE;
      } else {
        ++target.send_rights;
      }
      if (moved && from.urefs < max_urefs) --from.urefs;
      target.retain();
      right = {&target, MACH_MSG_TYPE_MOVE_SEND, false};
    }
    unlock(target.lock);
    return is_good;
  }

  // Takes the rest of the ports, whatever they are. The space is locked; afterwards it is not.
  [[gnu::noinline]] kern_return_t take_rest(kmsg& message, std::uint32_t count) noexcept {
    space& names = caller_.space;
    owed then;
    kern_return_t result = KERN_SUCCESS;
    while (message.right_count < count && result == KERN_SUCCESS) {
      const mach_msg_port_descriptor_t& each = descriptors(message)[message.right_count];
      entry* const found = names.find(each.name);
      result = found ? copy_in(names, each.name, *found, each.disposition, purpose::carrying,
                               message.rights()[message.right_count], then, reply_.guard, after_)
                     : KERN_INVALID_NAME;  // an earlier descriptor has moved it away
      if (result == KERN_INVALID_RIGHT) {
        reply_.guard = {kGUARD_EXC_SEND_INVALID_RIGHT, each.name, 0};
      }
      if (result == KERN_SUCCESS) ++message.right_count;
    }
    unlock(names.lock);
    then.settle(after_);
    return result;
  }

  static mach_msg_port_descriptor_t* descriptors(kmsg& message) noexcept {
    return reinterpret_cast<mach_msg_port_descriptor_t*>(message.bytes() + sizeof(mach_msg_base_t));
  }

  // How many port descriptors the message has, and the entries that they name; 0 if it has others,
  // too many, or one of them might not be copied in. The space is locked.
  std::uint32_t find_ports(kmsg& message, std::array<entry*, kmsg::few>& from) noexcept {
    if (message.size < sizeof(mach_msg_base_t)) return 0;
    const auto& base = *reinterpret_cast<const mach_msg_base_t*>(message.bytes());
    const std::uint32_t count = base.body.msgh_descriptor_count;
    if (count > kmsg::few || message.size < sizeof base + count * sizeof *descriptors(message)) {
      return 0;
    }
    for (std::uint32_t index = 0; index < count; ++index) {
      const mach_msg_port_descriptor_t& each = descriptors(message)[index];
      const bool moved = each.disposition == MACH_MSG_TYPE_MOVE_SEND;
      if (each.type != MACH_MSG_PORT_DESCRIPTOR ||
          (!moved && each.disposition != MACH_MSG_TYPE_COPY_SEND)) {
        return 0;
      }
      from[index] = caller_.space.find(each.name);
      if (!from[index] || !(from[index]->type & MACH_PORT_TYPE_SEND)) return 0;
    }
    return count;
  }

  // Takes the oldest message of the port under the name, if it is a plain one that fits, and the
  // send right that it came by. `name` becomes the one that the port is received under.
  kmsg* take_plain(mach_port_name_t& name, mach_msg_size_t room) noexcept {
    space& names = caller_.space;
    base::mutex& hold_names = names.lock.part_near(this);
    lock(hold_names);
    const entry* const found = names.active ? names.find(name) : nullptr;
    if (!found || !(found->type & MACH_PORT_TYPE_RECEIVE)) {
      unlock(hold_names);
      return nullptr;
    }
    port& from = static_cast<port&>(*found->target);
    lock(from.lock);
    unlock(hold_names);
    const kmsg* const oldest = from.receiver == &names ? from.queue().peek() : nullptr;
    const bool owes = from.send_possible_armed || (from.send_rights == 1 && from.no_senders);
    if (!oldest || owes || !is_plain(*oldest) || oldest->size > room) {
      unlock(from.lock);
      return nullptr;
    }
    kmsg* const message = take(from, after_);
    name = from.receiver_name;
    --from.send_rights;
    unlock(from.lock);
    message->destination = {};
    from.release();
    return message;
  }

  bool receive(const requests::message& request) noexcept {
    const mach_msg_size_t trailer = REQUESTED_TRAILER_SIZE(request.option);
    if (request.receive_size < trailer) return false;
    mach_port_name_t name = request.receive_name;
    kmsg* const message = take_plain(name, request.receive_size - trailer);
    if (!message) return false;
    mach_msg_header_t& header = message->header();
    header.msgh_bits = MACH_MSGH_BITS(0, MACH_MSG_TYPE_MOVE_SEND);
    header.msgh_size = message->size;
    header.msgh_remote_port = MACH_PORT_NULL;
    header.msgh_local_port = name;
    if (message->complex) reply_.result = copy_out_ports(*message);
    add_trailer(*message, request.option, message->bytes() + message->size);
    if (!Memory::out(message->bytes(), request.receive, message->size + trailer)) {
      reply_.result = MACH_RCV_INVALID_DATA;
    }
    if (reply_.result == MACH_MSG_SUCCESS) {
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
    mach_msg_return_t result = MACH_MSG_SUCCESS;
    lock(caller_.space.lock);
    // From the last to the first, as message_call does.
    for (std::uint32_t left = message.right_count; left > 0; --left) {
      carried_right& right = message.rights()[left - 1];
      mach_msg_port_descriptor_t& each = descriptors(message)[left - 1];
      each = {};
      each.disposition = right.disposition;
      each.type = MACH_MSG_PORT_DESCRIPTOR;
      if (!join_receive_right(right, each.name) &&
          copy_out(caller_.space, right, each.name) != KERN_SUCCESS) {
        result = MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE;
      }
    }
    unlock(caller_.space.lock);
    return result;
  }

  // What copy_out does with a send right of a port that the caller itself receives from. False: it
  // is something else, nothing has happened. The space is locked.
  bool join_receive_right(carried_right& right, mach_port_name_t& name) noexcept {
    port* const target = right.target;
    if (!target || right.disposition != MACH_MSG_TYPE_MOVE_SEND) return false;
    lock(target->lock);
    const bool is_here = target->active && target->receiver == &caller_.space;
    if (is_here) {
      name = target->receiver_name;
      entry& found = *caller_.space.find(name);
      if (found.type & MACH_PORT_TYPE_SEND) {
        --target->send_rights;
        if (found.urefs < max_urefs) ++found.urefs;
      } else {
        found.type |= MACH_PORT_TYPE_SEND;
        found.urefs = 1;
      }
    }
    unlock(target->lock);
    if (!is_here) return false;
    target->release();
    right.target = nullptr;
    return true;
  }

  deferred_work after_;
  ipc_task& caller_;
  any_reply& reply_;
};

}  // namespace kedge::mach::kernel
