// plain_message: the fast path of mach_msg.
//
// It does the most frequent calls: sending a message by a copied send right to a port that
// has room, without a reply port and with no descriptors but a few ports; and receiving such a
// message that is queued already. It does at once what message_call does in steps, and shares the
// steps of copy_in.h and copy_out.h. Any other call it leaves to message_call.
//
// It is a template and inline, since calls between its parts would be most of its cost. `Memory`
// reaches the caller's memory as copyio does, by static functions. `alone`: the process has one
// thread, and no lock needs to be taken.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

template <typename Memory, bool alone>
class plain_message {
 public:
  plain_message(kernel& whole, ipc_task& caller, any_reply& reply) noexcept
      : cleanup_(whole), caller_(caller), reply_(reply) {}

  // Does a mach_msg call if it is one of these, and returns true. Returns false if it is another
  // one, or would wait, fail, or send a notification: then nothing has happened.
  bool pass(const requests::message& request) noexcept {
    if (cleanup_.owner.faults().planned()) [[unlikely]]
      return false;
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
  // Options that ask for more than to send or to receive.
  static constexpr mach_msg_option_t beyond_sending = MACH_SEND_NOTIFY | MACH_MSG_STRICT_REPLY;
  static constexpr mach_msg_size_t largest = 8192;
  static constexpr mach_msg_bits_t copied_send_right = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);

  // Holds a lock to the end of its scope, or until it is unlocked. Does nothing if `alone`, which
  // std::unique_lock cannot.
  template <typename Lock>
  class hold {
   public:
    explicit hold(Lock& lock) noexcept : lock_(&lock) {
      if constexpr (!alone) lock.lock();
    }
    ~hold() { unlock(); }
    hold(const hold&) = delete;
    hold& operator=(const hold&) = delete;

    void unlock() noexcept {
      if constexpr (!alone) {
        if (lock_) lock_->unlock();
        lock_ = nullptr;
      }
    }

   private:
    Lock* lock_;
  };

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
    kmsg* const message = cleanup_.owner.messages(this).take(size);
    if (!message) return false;
    message->size = size;
    if (Memory::in(buffer, message->bytes(), size)) {
      // The bits are checked again: another thread may have changed the caller's memory.
      const mach_msg_header_t& header = message->header();
      message->id = header.msgh_id;
      message->sender = caller_.credentials.security;
      message->audit = caller_.credentials.audit;
      if (header.msgh_local_port == MACH_PORT_NULL &&
          (header.msgh_bits == copied_send_right ? post_without_rights(*message)
                                                 : post_with_rights(*message))) {
        return true;
      }
    }
    kmsg_pool::recycle(message);
    return false;
  }

  // The port that the header names by a send right, or null. Requires the space lock or a shard of
  // it.
  port* find_destination(kmsg& message) noexcept {
    ipc_space& names = caller_.names;
    const entry* const found =
        names.active ? names.find(message.header().msgh_remote_port) : nullptr;
    return found && (found->type & MACH_PORT_TYPE_SEND) ? &port_of(*found) : nullptr;
  }

  // Reserves room for the message and copies the send right into it. Returns false if the port is
  // dead, full or the kernel's. Requires the port lock.
  static bool address(kmsg& message, port& to) noexcept {
    if (!to.active || to.is_kernels() || to.full() || !to.queue().reserve(message)) {
      return false;
    }
    copy_send_right(to);
    message.destination = {&to, MACH_MSG_TYPE_MOVE_SEND, false};
    return true;
  }

  bool post_without_rights(kmsg& message) noexcept {
    hold names(caller_.names.lock.shard_near(this));
    port* const to = find_destination(message);
    if (!to) return false;
    const hold locked(to->lock);
    const bool addressed = address(message, *to);
    names.unlock();
    if (addressed) post_to(*to, message);
    return addressed;
  }

  // Posts the message, and tells the sender which of its own names can be received from now.
  // Requires the port lock.
  void post_to(port& to, kmsg& message) noexcept {
    if (!post(to, &message, cleanup_)) return;
    reply_.as<replies::message>().awakened = name_of_awakened(to, caller_.names);
  }

  bool post_with_rights(kmsg& message) noexcept {
    std::array<entry*, kmsg::few> from;
    hold names(caller_.names.lock);
    const std::uint32_t count = find_ports(message, from);
    port* const to = count != 0 ? find_destination(message) : nullptr;
    if (!to) return false;
    {
      const hold locked(to->lock);
      if (!address(message, *to)) return false;
    }
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
      names.unlock();
    } else {
      result = take_rest(message, count, names);
    }
    hold locked(to->lock);
    if (result == KERN_SUCCESS && to->active) {
      post_to(*to, message);
    } else {
      to->queue().abort(message);
      locked.unlock();
      lose(message, result);
    }
    return true;
  }

  // Destroys a message that has taken rights of the caller's but cannot arrive (class 2 or 4 of
  // failed sends).
  void lose(kmsg& message, kern_return_t why) noexcept {
    cleanup_.destroy_later(&message);
    cleanup_.reap();
    if (reply_.guard.code != 0) caller_.guards.apply(reply_.guard);
    if (why != KERN_SUCCESS) reply_.result = MACH_SEND_INVALID_RIGHT;
  }

  // Copies in a send right whose name stays in use. Returns false, with nothing changed, if it is
  // something else. Requires the space lock.
  static bool take_send_right(entry& from, mach_msg_type_name_t disposition,
                              carried_right& right) noexcept {
    if (!(from.type & MACH_PORT_TYPE_SEND)) return false;
    const bool moved = disposition == MACH_MSG_TYPE_MOVE_SEND;
    if (moved && !keeps_name(from)) return false;
    port& target = port_of(from);
    const hold locked(target.lock);
    if (!target.active || guard_code_for(target, disposition, copy_in_use::carried) != 0) {
      return false;
    }
    if (moved) {
      move_send_reference(from, target);
    } else {
      copy_send_right(target);
    }
    right = {&target, MACH_MSG_TYPE_MOVE_SEND, false};
    return true;
  }

  // Copies in the remaining ports, whatever rights they are. Requires the space lock. Releases it.
  [[gnu::noinline]] kern_return_t take_rest(kmsg& message, std::uint32_t count,
                                            hold<space_lock>& names) noexcept {
    deferred_notifications deferred;
    const right_context context{caller_.names, deferred, reply_.guard, cleanup_};
    kern_return_t result = KERN_SUCCESS;
    while (message.right_count < count && result == KERN_SUCCESS) {
      const mach_msg_port_descriptor_t& each = descriptors(message)[message.right_count];
      entry* const found = context.names.find(each.name);
      // Without an entry: an earlier descriptor has moved the right away.
      result = found ? copy_in(context, each.name, *found, {each.disposition},
                               message.rights()[message.right_count])
                     : KERN_INVALID_NAME;
      if (result == KERN_INVALID_RIGHT) {
        reply_.guard = {kGUARD_EXC_SEND_INVALID_RIGHT, each.name, 0};
      }
      if (result == KERN_SUCCESS) ++message.right_count;
    }
    names.unlock();
    deferred.flush(cleanup_);
    return result;
  }

  static mach_msg_port_descriptor_t* descriptors(kmsg& message) noexcept {
    return reinterpret_cast<mach_msg_port_descriptor_t*>(message.bytes() + sizeof(mach_msg_base_t));
  }

  // Returns how many port descriptors the message has, and writes the entries that they name.
  // Returns 0 if it has other descriptors or too many, or if one may fail to be copied in. Requires
  // the space lock.
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
      from[index] = caller_.names.find(each.name);
      if (!from[index] || !(from[index]->type & MACH_PORT_TYPE_SEND)) return 0;
    }
    return count;
  }

  // Whether a message of the port can be received without a notification or an error: the oldest
  // one is plain and has at most `room` bytes. Requires the port lock.
  bool has_plain(port& from, mach_msg_size_t room) noexcept {
    const kmsg* const oldest = from.receiver == &caller_.names ? from.queue().peek() : nullptr;
    const bool notifies = from.send_possible_armed || (from.send_rights == 1 && from.no_senders);
    return oldest && !notifies && is_plain(*oldest) && oldest->size <= room;
  }

  // Takes the oldest message of the port under the name, if it is a plain one that fits, and
  // consumes the send right that it came by. Writes the name of the receive right to `name`.
  kmsg* take_plain(mach_port_name_t& name, mach_msg_size_t room) noexcept {
    ipc_space& names = caller_.names;
    hold names_held(names.lock.shard_near(this));
    const entry* const found = names.active ? names.find(name) : nullptr;
    if (!found) return nullptr;
    if (found->type == MACH_PORT_TYPE_PORT_SET) {
      return take_plain_of_set(static_cast<ipc_port_set&>(*found->target), names_held, name, room);
    }
    if (!(found->type & MACH_PORT_TYPE_RECEIVE)) return nullptr;
    port& from = port_of(*found);
    hold locked(from.lock);
    names_held.unlock();
    if (!has_plain(from, room)) return nullptr;
    kmsg* const message = take_checked(from, name);
    reply_.as<replies::message>().emptied = from.queue().peek() == nullptr;
    locked.unlock();
    from.release();
    return message;
  }

  // The same from the next member of a set. Requires the space lock or a shard of it. Releases it.
  kmsg* take_plain_of_set(ipc_port_set& set, hold<base::mutex>& names_held, mach_port_name_t& name,
                          mach_msg_size_t room) noexcept {
    ref<port> member;
    {
      const hold locked(set.lock);
      membership* const next = set.active ? set.ready.front() : nullptr;
      if (!next) return nullptr;
      member = ref<port>(next->member);
    }
    // The set's lock could not be kept, since a port's lock comes before it. The members of a set
    // change only under the whole space lock, or as their ports go.
    const hold locked(member->lock);
    membership* link = member->sets.front();
    while (link && link->set != &set) link = member_sets::after(*link);
    if (!link || !has_plain(*member, room)) return nullptr;
    if (cleanup_.owner.os_profile().serves_members_in_turn()) {
      const hold set_locked(set.lock);
      if (link->ready.is_linked()) {
        set.ready.remove(*link);
        set.ready.push_back(*link);
      }
    }
    kmsg* const message = take_checked(*member, name);
    {
      const hold set_locked(set.lock);
      reply_.as<replies::message>().emptied = set.ready.empty();
    }
    names_held.unlock();
    member->release();  // the message's
    return message;
  }

  // Takes the oldest message, for which has_plain() has returned true, and consumes its send right.
  // The reference of the message to the port becomes the caller's. Requires the port lock.
  kmsg* take_checked(port& from, mach_port_name_t& name) noexcept {
    kmsg* const message = take(from, cleanup_);
    name = from.receiver_name;
    --from.send_rights;
    message->destination = {};
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
      cleanup_.destroy_later(message);
      cleanup_.reap();
    }
    return true;
  }

  // From the last descriptor to the first, as message_call does.
  mach_msg_return_t copy_out_ports(kmsg& message) noexcept {
    message.header().msgh_bits |= MACH_MSGH_BITS_COMPLEX;
    mach_msg_return_t result = MACH_MSG_SUCCESS;
    const hold names(caller_.names.lock);
    for (std::uint32_t left = message.right_count; left > 0; --left) {
      carried_right& right = message.rights()[left - 1];
      mach_msg_port_descriptor_t& each = descriptors(message)[left - 1];
      each = {};
      each.disposition = right.disposition;
      each.type = MACH_MSG_PORT_DESCRIPTOR;
      if (!join_own_port(right, each.name) &&
          copy_out(caller_.names, right, each.name) != KERN_SUCCESS) {
        result = MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE;
      }
    }
    return result;
  }

  // Copies out a send right to a port that the caller itself receives from. Returns false, with
  // nothing changed, if it is something else. Requires the space lock.
  bool join_own_port(carried_right& right, mach_port_name_t& name) noexcept {
    port* const target = right.target;
    if (!target || right.disposition != MACH_MSG_TYPE_MOVE_SEND) return false;
    {
      const hold locked(target->lock);
      if (!target->active || target->receiver != &caller_.names) return false;
      name = target->receiver_name;
      join_send_right(*caller_.names.find(name), *target);
    }
    target->release();
    right.target = nullptr;
    return true;
  }

  deferred_work cleanup_;
  ipc_task& caller_;
  any_reply& reply_;
};

}  // namespace kedge::mach::kernel
