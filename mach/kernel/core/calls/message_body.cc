// The descriptors of a message: takes their rights and memory out of the sender's task, and puts
// them into the receiver's (Darwin: ipc_kmsg_copyin_body, ipc_kmsg_copyout_body).
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right_release.h"

namespace kedge::mach::kernel {
namespace {

constexpr std::uint64_t max_ports = 16383;
// The bytes that the kernel copies for one message at most. Pieces of up to `max_buffered_copy` do
// not count, nor memory that is deallocated or copied virtually (Darwin: ipc_kmsg_max_vm_space).
constexpr std::uint64_t max_physical_copy = 7u * 1024 * 1024;

std::byte* descriptors(kmsg& message) noexcept {
  return message.bytes() + sizeof(mach_msg_base_t);
}

std::uint32_t descriptor_count(kmsg& message) noexcept {
  mach_msg_body_t body;
  std::memcpy(&body, message.bytes() + sizeof(mach_msg_header_t), sizeof body);
  return body.msgh_descriptor_count;
}

template <typename Descriptor>
Descriptor read(const std::byte* position) noexcept {
  static_assert(std::is_trivially_copyable_v<Descriptor>);
  Descriptor descriptor;
  std::memcpy(&descriptor, position, sizeof descriptor);
  return descriptor;
}

template <typename Descriptor>
std::size_t write(std::byte* position, const Descriptor& descriptor) noexcept {
  std::memcpy(position, &descriptor, sizeof descriptor);
  return sizeof descriptor;
}

mach_msg_descriptor_type_t type_at(const std::byte* position) noexcept {
  return read<mach_msg_type_descriptor_t>(position).type;
}

bool is_known(mach_msg_descriptor_type_t type) noexcept {
  return type <= MACH_MSG_DESCRIPTOR_MAX;
}

// A descriptor of an unknown kind is as long as a port descriptor.
std::size_t size_of(mach_msg_descriptor_type_t type) noexcept {
  return type == MACH_MSG_PORT_DESCRIPTOR || !is_known(type) ? sizeof(mach_msg_port_descriptor_t)
                                                             : sizeof(mach_msg_ool_descriptor_t);
}

// What the descriptors of a body ask for, in all.
class body_measure {
 public:
  std::uint64_t ports = 0;
  std::uint32_t memories = 0;
  std::uint64_t physical = 0;  // bytes to be copied by the kernel

  // Adds the descriptor, or refuses it: MACH_SEND_INVALID_TYPE.
  mach_msg_return_t add(const std::byte* position, bool checks_array_copy) noexcept {
    switch (type_at(position)) {
      case MACH_MSG_PORT_DESCRIPTOR:
        ++ports;
        return MACH_MSG_SUCCESS;
      case MACH_MSG_OOL_DESCRIPTOR:
      case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
        return add_memory(read<mach_msg_ool_descriptor_t>(position));
      case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
        const auto array = read<mach_msg_ool_ports_descriptor_t>(position);
        ports += array.count;
        return !checks_array_copy || is_copy_option(array.copy) ? MACH_MSG_SUCCESS
                                                                : MACH_SEND_INVALID_TYPE;
      }
      case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
        ++ports;
        return is_possible(read<mach_msg_guarded_port_descriptor_t>(position))
                   ? MACH_MSG_SUCCESS
                   : MACH_SEND_INVALID_TYPE;
      default:
        return MACH_MSG_SUCCESS;
    }
  }

 private:
  static bool is_copy_option(mach_msg_copy_options_t option) noexcept {
    return option == MACH_MSG_PHYSICAL_COPY || option == MACH_MSG_VIRTUAL_COPY;
  }

  static bool is_possible(const mach_msg_guarded_port_descriptor_t& guarded) noexcept {
    return guarded.disposition == MACH_MSG_TYPE_MOVE_RECEIVE && guarded.flags != 0 &&
           (guarded.flags & ~unsigned{MACH_MSG_GUARD_FLAGS_MASK}) == 0 &&
           (!(guarded.flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND) || guarded.context == 0);
  }

  mach_msg_return_t add_memory(const mach_msg_ool_descriptor_t& memory) noexcept {
    ++memories;
    if (!is_copy_option(memory.copy)) return MACH_SEND_INVALID_TYPE;
    if (memory.copy == MACH_MSG_PHYSICAL_COPY && !memory.deallocate &&
        memory.size > max_buffered_copy) {
      physical += memory.size;
    }
    return MACH_MSG_SUCCESS;
  }
};

}  // namespace

mach_msg_return_t message_call::check_body(kmsg& message) noexcept {
  const profile answers = cleanup_.owner.os_profile();
  const std::uint32_t count = descriptor_count(message);
  std::size_t left = message.size - sizeof(mach_msg_base_t);
  const std::byte* position = descriptors(message);
  body_measure needs;
  mach_msg_return_t wrong = MACH_MSG_SUCCESS;
  for (std::uint32_t index = 0; index < count; ++index) {
    if (left < sizeof(mach_msg_type_descriptor_t)) return MACH_SEND_MSG_TOO_SMALL;
    const mach_msg_descriptor_type_t type = type_at(position);
    // An older kernel refuses the descriptor only when it copies it in.
    if (!is_known(type) && answers.checks_descriptors_first()) return MACH_SEND_INVALID_TYPE;
    const std::size_t size = size_of(type);
    if (left < size) return MACH_SEND_MSG_TOO_SMALL;
    if (wrong == MACH_MSG_SUCCESS)
      wrong = needs.add(position, !answers.ignores_copy_option_of_arrays());
    // A newer kernel measures all descriptors before it refuses one.
    if (wrong != MACH_MSG_SUCCESS && !answers.checks_descriptors_first()) return wrong;
    position += size;
    left -= size;
  }
  if (wrong != MACH_MSG_SUCCESS) return wrong;
  if (needs.ports > max_ports) return MACH_SEND_TOO_LARGE;
  if (needs.physical > max_physical_copy) return MACH_MSG_VM_KERNEL;
  return !faults().happens(fault_point::descriptor_memory) &&
                 message.reserve(static_cast<std::uint32_t>(needs.ports), needs.memories)
             ? MACH_MSG_SUCCESS
             : MACH_SEND_NO_BUFFER;
}

// Copies the descriptors in, in order. If one fails, those before it stay taken, and what was
// taken for the failing one is given back.
class message_call::body_copy_in {
 public:
  body_copy_in(message_call& call, const right_context& context, kmsg& message) noexcept
      : call_(call), context_(context), message_(message), names_(context.names.lock) {}

  mach_msg_return_t run() {
    std::byte* position = descriptors(message_);
    for (std::uint32_t left = descriptor_count(message_); left > 0; --left) {
      const mach_msg_descriptor_type_t type = type_at(position);
      mach_msg_return_t result = MACH_MSG_SUCCESS;
      switch (type) {
        case MACH_MSG_PORT_DESCRIPTOR:
          result = take_port(position);
          break;
        case MACH_MSG_OOL_PORTS_DESCRIPTOR:
          result = take_ports(position);
          break;
        case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
          result = take_guarded_port(position);
          break;
        case MACH_MSG_OOL_DESCRIPTOR:
        case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
          result = take_memory(position);
          break;
        default:
          result = MACH_SEND_INVALID_TYPE;
          break;
      }
      if (result != MACH_MSG_SUCCESS) return result;
      position += size_of(type);
    }
    return MACH_MSG_SUCCESS;
  }

 private:
  mach_msg_return_t take_right(mach_port_name_t name, const copy_in_mode& mode) {
    if (context_.deferred.full()) {
      const scoped_unlock gap(names_);
      context_.deferred.flush(call_.cleanup_);
    }
    carried_right& right = message_.rights()[next_right_++];
    if (!MACH_PORT_VALID(name)) {
      right = {nullptr, static_cast<std::uint8_t>(arrives_as(mode.disposition)),
               name == MACH_PORT_DEAD};
      return MACH_MSG_SUCCESS;
    }
    entry* found = context_.names.find(name);
    if (found && call_.faults().planned() && lose_right(name, *found, mode.disposition)) {
      found = context_.names.find(name);
    }
    if (!found) return MACH_SEND_INVALID_RIGHT;
    const kern_return_t result = copy_in(context_, name, *found, mode, right);
    if (result == KERN_INVALID_RIGHT) {
      context_.guard = {kGUARD_EXC_SEND_INVALID_RIGHT, name, 0};
    }
    if (result != KERN_SUCCESS) return MACH_SEND_INVALID_RIGHT;
    if (right.disposition == MACH_MSG_TYPE_MOVE_RECEIVE &&
        !call_.cleanup_.owner.rights_in_transit().bind(*right.target,
                                                       *message_.destination.target)) {
      message_.circular = true;
    }
    return MACH_MSG_SUCCESS;
  }

  // Releases the right of a descriptor, as another thread of the task could, if the plan of faults
  // says so. Only one that the descriptor moves and whose name it empties: nothing else of the task
  // misses it then.
  bool lose_right(mach_port_name_t name, entry& held, mach_msg_type_name_t disposition) {
    const bool is_receive = disposition == MACH_MSG_TYPE_MOVE_RECEIVE;
    if (is_receive) {
      if ((held.type & MACH_PORT_TYPE_RECEIVE) == 0) return false;
      port& target = port_of(held);
      const std::lock_guard hold(target.lock);
      if (target.guarded || target.immovable || target.reply) return false;
    } else if ((disposition != MACH_MSG_TYPE_MOVE_SEND &&
                disposition != MACH_MSG_TYPE_MOVE_SEND_ONCE) ||
               keeps_name(held) || held.pinned || !may_copy_in(held, disposition)) {
      return false;
    }
    if (!call_.faults().happens(fault_point::sent_right)) return false;
    if (is_receive) {
      change_refs(context_, name, held, MACH_PORT_RIGHT_RECEIVE, -1);
    } else {
      deallocate_right(context_, name, held);
    }
    return true;
  }

  mach_msg_return_t take_port(std::byte* position) {
    auto descriptor = read<mach_msg_port_descriptor_t>(position);
    const mach_msg_return_t result = take_right(descriptor.name, {descriptor.disposition});
    descriptor.name = MACH_PORT_NULL;
    descriptor.disposition = arrives_as(descriptor.disposition) & 0xff;
    write(position, descriptor);
    return result;
  }

  mach_msg_return_t take_guarded_port(std::byte* position) {
    auto descriptor = read<mach_msg_guarded_port_descriptor_t>(position);
    const mach_msg_return_t result =
        take_right(descriptor.name, {descriptor.disposition, copy_in_use::carried, &descriptor});
    descriptor.name = MACH_PORT_NULL;
    descriptor.context = 0;
    write(position, descriptor);
    return result;
  }

  mach_msg_return_t take_memory(std::byte* position) {
    auto descriptor = read<mach_msg_ool_descriptor_t>(position);
    carried_memory& memory = message_.memories()[next_memory_++];
    if (descriptor.size > 0) {
      const ool_transfer_mode mode = transfer_mode(descriptor);
      const kern_return_t result = [&] {
        const scoped_unlock gap(names_);
        if (call_.faults().happens(fault_point::sent_memory)) return KERN_RESOURCE_SHORTAGE;
        return call_.memory_.take(address_of(descriptor.address), descriptor.size, mode, memory);
      }();
      if (result == KERN_RESOURCE_SHORTAGE) return MACH_MSG_VM_KERNEL;
      if (result != KERN_SUCCESS) return MACH_SEND_INVALID_MEMORY;
    }
    descriptor.address = nullptr;
    write(position, descriptor);
    return MACH_MSG_SUCCESS;
  }

  // A physical copy of memory that its sender deallocates moves the pages, as a virtual copy does
  // (Darwin: ipc_kmsg_copyin_ool_descriptor).
  static ool_transfer_mode transfer_mode(const mach_msg_ool_descriptor_t& memory) noexcept {
    const bool deallocates = memory.deallocate != 0;
    const bool is_virtual = memory.copy == MACH_MSG_VIRTUAL_COPY || deallocates;
    return {.keeps_offset = is_virtual && memory.size > max_buffered_copy,
            .deallocates = deallocates};
  }

  mach_msg_return_t take_ports(std::byte* position) {
    auto descriptor = read<mach_msg_ool_ports_descriptor_t>(position);
    if (descriptor.count > 0) {
      const mach_msg_return_t result = take_array(descriptor);
      if (result != MACH_MSG_SUCCESS) return result;
    }
    descriptor.address = nullptr;
    descriptor.disposition = arrives_as(descriptor.disposition) & 0xff;
    write(position, descriptor);
    return MACH_MSG_SUCCESS;
  }

  mach_msg_return_t take_array(const mach_msg_ool_ports_descriptor_t& descriptor) {
    if (call_.cleanup_.owner.os_profile().lacks_memory_for_arrays() &&
        call_.faults().happens(fault_point::array_memory)) {
      return MACH_SEND_NO_BUFFER;
    }
    const std::uint32_t first = next_right_;
    const std::uint32_t count = descriptor.count;
    const std::size_t size = count * sizeof(mach_port_name_t);
    const user_address from = address_of(descriptor.address);
    // The names wait at the end of the array's own rights, so they need no memory (Darwin:
    // ipc_kmsg_copyin_ool_ports_descriptor). Each name is read before a right is written over it.
    carried_right* const rights = message_.rights() + first;
    std::byte* const names = reinterpret_cast<std::byte*>(rights + count) - size;
    const bool readable = [&] {
      const scoped_unlock gap(names_);
      if (!call_.memory_.in_checked(from, names, size)) return false;
      if (descriptor.deallocate) call_.memory_.deallocate(from, size);
      return true;
    }();
    mach_msg_return_t result = readable ? MACH_MSG_SUCCESS : MACH_SEND_INVALID_MEMORY;
    for (std::uint32_t index = 0; index < count && result == MACH_MSG_SUCCESS; ++index) {
      const auto name = read<mach_port_name_t>(names + index * sizeof(mach_port_name_t));
      rights[index] = {};
      result = take_right(name, {descriptor.disposition});
    }
    if (result == MACH_MSG_SUCCESS) return result;
    std::fill(rights + (next_right_ - first), rights + count, carried_right{});
    give_back(first);
    return result;
  }

  // Releases the rights of an array as a whole, before the rights that were taken ahead of it.
  void give_back(std::uint32_t first) {
    const scoped_unlock gap(names_);
    context_.deferred.flush(call_.cleanup_);
    for (std::uint32_t index = first; index < next_right_; ++index) {
      release_right(message_.rights()[index], call_.cleanup_);
    }
  }

  static user_address address_of(const void* address) noexcept {
    return reinterpret_cast<std::uintptr_t>(address);
  }

  message_call& call_;
  const right_context& context_;
  kmsg& message_;
  std::unique_lock<space_lock> names_;
  std::uint32_t next_right_ = 0;
  std::uint32_t next_memory_ = 0;
};

mach_msg_return_t message_call::copy_in_body(const right_context& context, kmsg& message) {
  return body_copy_in(*this, context, message).run();
}

// Copies all descriptors out, and reports all failures together.
class message_call::body_copy_out {
 public:
  body_copy_out(message_call& call, kmsg& message, bool pseudo) noexcept
      : call_(call), message_(message), pseudo_(pseudo), names_(call.caller_.names.lock) {}

  // From the last descriptor to the first (Darwin: ipc_kmsg_copyout_body). A descriptor that waits
  // for its turn holds the length of the descriptor before it, in the place of its name or address.
  mach_msg_return_t run() {
    std::byte* from = descriptors(message_);
    std::uint32_t length = 0;
    for (std::uint32_t left = descriptor_count(message_); left > 0; --left) {
      const auto own_length = static_cast<std::uint32_t>(size_of(type_at(from)));
      write(from, length);
      length = own_length;
      from += length;
    }
    end_ = from;
    for (std::uint32_t left = descriptor_count(message_); left > 0; --left) {
      from -= length;
      length = read<std::uint32_t>(from);
      switch (type_at(from)) {
        case MACH_MSG_PORT_DESCRIPTOR:
          give_port();
          break;
        case MACH_MSG_OOL_PORTS_DESCRIPTOR:
          give_ports(from);
          break;
        case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
          give_guarded_port(from);
          break;
        default:
          give_memory(from);
          break;
      }
    }
    if (from != end_) {
      // Some descriptors have become shorter.
      std::memmove(from, end_, static_cast<std::size_t>(message_.bytes() + message_.size - end_));
      message_.size -= static_cast<mach_msg_size_t>(end_ - from);
    }
    return result_;
  }

 private:
  // Returns the name of the right, MACH_PORT_NULL if there is no space for one. An immovable
  // receive right arrives guarded with the address of the receive buffer.
  mach_port_name_t give_right(carried_right& right, bool immovable = false) {
    port* const target = right.target;
    const bool receive = target && right.disposition == MACH_MSG_TYPE_MOVE_RECEIVE;
    if (receive) call_.cleanup_.owner.rights_in_transit().unbind(*target);
    mach_port_name_t name = MACH_PORT_NULL;
    if (copy_out(call_.caller_.names, right, name) != KERN_SUCCESS) {
      result_ |= MACH_MSG_IPC_SPACE;
    } else if (receive && immovable && name != MACH_PORT_DEAD) {
      // The space holds the port now, and is locked.
      const std::lock_guard hold(target->lock);
      target->guarded = true;
      target->strict_guard = false;
      target->immovable = !pseudo_;
      target->context = call_.state_.receive_buffer;
    }
    return name;
  }

  void give_port() {
    carried_right& right = message_.rights()[--rights_left_];
    mach_msg_port_descriptor_t descriptor{};
    descriptor.type = MACH_MSG_PORT_DESCRIPTOR;
    descriptor.disposition = right.disposition;
    descriptor.name = give_right(right);
    put(descriptor);
  }

  void give_guarded_port(const std::byte* from) {
    auto descriptor = read<mach_msg_guarded_port_descriptor_t>(from);
    carried_right& right = message_.rights()[--rights_left_];
    if (!pseudo_ && !(call_.state_.option & MACH_RCV_GUARDED_DESC)) {
      // The receiver did not ask for guarded descriptors: the right is destroyed.
      mach_msg_port_descriptor_t plain{};
      plain.type = MACH_MSG_PORT_DESCRIPTOR;
      plain.disposition = right.disposition;
      if (right.target) call_.cleanup_.owner.rights_in_transit().unbind(*right.target);
      {
        const scoped_unlock gap(names_);
        release_right(right, call_.cleanup_);
      }
      return put(plain);
    }
    if (!right.target) {
      descriptor.name = give_right(right);
      descriptor.context = 0;
      return put(descriptor);
    }
    const bool immovable = (descriptor.flags & MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE) != 0;
    descriptor.name = give_right(right, immovable);
    descriptor.flags =
        immovable ? MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE : MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;
    descriptor.context = immovable ? call_.state_.receive_buffer : 0;
    put(descriptor);
  }

  void give_memory(const std::byte* from) {
    auto descriptor = read<mach_msg_ool_descriptor_t>(from);
    carried_memory& memory = message_.memories()[--memories_left_];
    user_address position = 0;
    if (memory.object) {
      if (!pseudo_) memory.origin = 0;
      const kern_return_t result = [&] {
        const scoped_unlock gap(names_);
        if (call_.faults().happens(fault_point::received_room)) return KERN_NO_SPACE;
        if (call_.faults().happens(fault_point::received_memory)) return KERN_RESOURCE_SHORTAGE;
        return call_.memory_.give(memory, position);
      }();
      if (result != KERN_SUCCESS) {
        result_ |= result == KERN_RESOURCE_SHORTAGE ? MACH_MSG_VM_KERNEL : MACH_MSG_VM_SPACE;
        descriptor.size = 0;
      }
    }
    descriptor.address = reinterpret_cast<void*>(position);
    descriptor.deallocate = descriptor.copy == MACH_MSG_VIRTUAL_COPY;
    put(descriptor);
  }

  void give_ports(const std::byte* from) {
    auto descriptor = read<mach_msg_ool_ports_descriptor_t>(from);
    const std::size_t size = descriptor.count * sizeof(mach_port_name_t);
    rights_left_ -= descriptor.count;
    user_address position = 0;
    if (size > 0) {
      const std::unique_ptr<mach_port_name_t[]> array(
          call_.faults().happens(fault_point::received_memory)
              ? nullptr
              : new (std::nothrow) mach_port_name_t[descriptor.count]);
      const bool has_room = [&] {
        const scoped_unlock gap(names_);
        return array && !call_.faults().happens(fault_point::received_room) &&
               call_.memory_.allocate(size, position) == KERN_SUCCESS;
      }();
      if (has_room) {
        for (std::uint32_t index = 0; index < descriptor.count; ++index) {
          array[index] = give_right(message_.rights()[rights_left_ + index]);
        }
        call_.memory_.out(array.get(), position, size);
      } else {
        // The rights are destroyed with the message.
        result_ |= array ? MACH_MSG_VM_SPACE : MACH_MSG_VM_KERNEL;
      }
    }
    descriptor.address = reinterpret_cast<void*>(position);
    descriptor.deallocate = 1;
    descriptor.copy = MACH_MSG_VIRTUAL_COPY;
    put(descriptor);
  }

  template <typename Descriptor>
  void put(const Descriptor& descriptor) noexcept {
    end_ -= sizeof descriptor;
    write(end_, descriptor);
  }

  message_call& call_;
  kmsg& message_;
  const bool pseudo_;
  std::unique_lock<space_lock> names_;
  mach_msg_return_t result_ = MACH_MSG_SUCCESS;
  std::uint32_t rights_left_ = message_.right_count;
  std::uint32_t memories_left_ = message_.memory_count;
  std::byte* end_ = nullptr;  // where the descriptors that were copied out begin
};

mach_msg_size_t size_inside(kmsg& message) noexcept {
  mach_msg_size_t size = message.size + 2 * sizeof(mach_port_name_t);
  if (!message.complex) return size;
  const std::byte* position = descriptors(message);
  for (std::uint32_t left = descriptor_count(message); left > 0; --left) {
    const std::size_t length = size_of(type_at(position));
    size += static_cast<mach_msg_size_t>(sizeof(mach_msg_ool_descriptor_t) - length);
    position += length;
  }
  return size;
}

mach_msg_return_t message_call::copy_out_body(kmsg& message, bool pseudo) {
  return body_copy_out(*this, message, pseudo).run();
}

}  // namespace kedge::mach::kernel
