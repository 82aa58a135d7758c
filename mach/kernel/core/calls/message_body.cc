// The descriptors of a message: what they stand for is taken out of the sender's space and memory,
// and put into the receiver's (Darwin: ipc_kmsg_copyin_body, ipc_kmsg_copyout_body).
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

constexpr std::uint64_t max_ports = 16383;
// What one message may make the kernel copy, in all; smaller pieces do not count, nor what is
// deallocated or copied virtually (Darwin: ipc_kmsg_max_vm_space, msg_ool_size_small).
constexpr std::uint64_t max_physical_copy = 7u * 1024 * 1024;
constexpr std::uint64_t small_copy = 32u * 1024;

std::byte* descriptors(kmsg& message) noexcept {
  return message.bytes() + sizeof(mach_msg_base_t);
}

std::uint32_t descriptor_count(kmsg& message) noexcept {
  mach_msg_body_t body;
  std::memcpy(&body, message.bytes() + sizeof(mach_msg_header_t), sizeof body);
  return body.msgh_descriptor_count;
}

template <typename Descriptor>
Descriptor read(const std::byte* at) noexcept {
  static_assert(std::is_trivially_copyable_v<Descriptor>);
  Descriptor found;
  std::memcpy(&found, at, sizeof found);
  return found;
}

template <typename Descriptor>
std::size_t write(std::byte* at, const Descriptor& descriptor) noexcept {
  std::memcpy(at, &descriptor, sizeof descriptor);
  return sizeof descriptor;
}

mach_msg_descriptor_type_t type_at(const std::byte* at) noexcept {
  return read<mach_msg_type_descriptor_t>(at).type;
}

bool is_known(mach_msg_descriptor_type_t type) noexcept {
  return type <= MACH_MSG_DESCRIPTOR_MAX;
}

// A kind that nobody knows is as long as a port descriptor.
std::size_t size_of(mach_msg_descriptor_type_t type) noexcept {
  return type == MACH_MSG_PORT_DESCRIPTOR || !is_known(type) ? sizeof(mach_msg_port_descriptor_t)
                                                             : sizeof(mach_msg_ool_descriptor_t);
}

// What a body needs room for, and what its descriptors ask that cannot be.
struct body_measure {
  std::uint64_t ports = 0;
  std::uint32_t memories = 0;
  std::uint64_t physical = 0;  // bytes to be copied by the kernel

  mach_msg_return_t add(const std::byte* at, bool checks_array_copy) noexcept {
    switch (type_at(at)) {
      case MACH_MSG_PORT_DESCRIPTOR:
        ++ports;
        return MACH_MSG_SUCCESS;
      case MACH_MSG_OOL_DESCRIPTOR:
      case MACH_MSG_OOL_VOLATILE_DESCRIPTOR: {
        const auto asked = read<mach_msg_ool_descriptor_t>(at);
        ++memories;
        if (!is_copy_option(asked.copy)) return MACH_SEND_INVALID_TYPE;
        if (asked.copy == MACH_MSG_PHYSICAL_COPY && !asked.deallocate && asked.size > small_copy) {
          physical += asked.size;
        }
        return MACH_MSG_SUCCESS;
      }
      case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
        const auto asked = read<mach_msg_ool_ports_descriptor_t>(at);
        ports += asked.count;
        return !checks_array_copy || is_copy_option(asked.copy) ? MACH_MSG_SUCCESS
                                                                : MACH_SEND_INVALID_TYPE;
      }
      case MACH_MSG_GUARDED_PORT_DESCRIPTOR: {
        const auto asked = read<mach_msg_guarded_port_descriptor_t>(at);
        ++ports;
        const bool possible =
            asked.disposition == MACH_MSG_TYPE_MOVE_RECEIVE && asked.flags != 0 &&
            (asked.flags & ~unsigned{MACH_MSG_GUARD_FLAGS_MASK}) == 0 &&
            (!(asked.flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND) || asked.context == 0);
        return possible ? MACH_MSG_SUCCESS : MACH_SEND_INVALID_TYPE;
      }
      default:
        return MACH_MSG_SUCCESS;
    }
  }

 private:
  static bool is_copy_option(mach_msg_copy_options_t option) noexcept {
    return option == MACH_MSG_PHYSICAL_COPY || option == MACH_MSG_VIRTUAL_COPY;
  }
};

}  // namespace

mach_msg_return_t message_call::check_body(kmsg& message) noexcept {
  const profile age = after_.kernel.profile();
  const std::uint32_t count = descriptor_count(message);
  std::size_t left = message.size - sizeof(mach_msg_base_t);
  const std::byte* at = descriptors(message);
  body_measure needs;
  mach_msg_return_t wrong = MACH_MSG_SUCCESS;
  for (std::uint32_t index = 0; index < count; ++index) {
    if (left < sizeof(mach_msg_type_descriptor_t)) return MACH_SEND_MSG_TOO_SMALL;
    const mach_msg_descriptor_type_t type = type_at(at);
    // An older kernel meets it when it is its turn to be copied in.
    if (!is_known(type) && age.checks_descriptors_first()) return MACH_SEND_INVALID_TYPE;
    const std::size_t size = size_of(type);
    if (left < size) return MACH_SEND_MSG_TOO_SMALL;
    if (wrong == MACH_MSG_SUCCESS) wrong = needs.add(at, !age.ignores_copy_option_of_arrays());
    // A newer kernel measures all of them before it looks into any.
    if (wrong != MACH_MSG_SUCCESS && !age.checks_descriptors_first()) return wrong;
    at += size;
    left -= size;
  }
  if (wrong != MACH_MSG_SUCCESS) return wrong;
  if (needs.ports > max_ports) return MACH_SEND_TOO_LARGE;
  if (needs.physical > max_physical_copy) return MACH_MSG_VM_KERNEL;
  return message.reserve(static_cast<std::uint32_t>(needs.ports), needs.memories)
             ? MACH_MSG_SUCCESS
             : MACH_SEND_NO_BUFFER;
}

// The descriptors in order; where one fails, those before it are taken, and what was taken for
// it itself is given back.
class message_call::body_copy_in {
 public:
  body_copy_in(message_call& call, kmsg& message, owed& then) noexcept
      : call_(call), message_(message), then_(then), names_(call.caller_.space.lock) {}

  mach_msg_return_t run() {
    std::byte* at = descriptors(message_);
    for (std::uint32_t left = descriptor_count(message_); left > 0; --left) {
      const mach_msg_descriptor_type_t type = type_at(at);
      mach_msg_return_t result = MACH_MSG_SUCCESS;
      switch (type) {
        case MACH_MSG_PORT_DESCRIPTOR:
          result = take_port(at);
          break;
        case MACH_MSG_OOL_PORTS_DESCRIPTOR:
          result = take_ports(at);
          break;
        case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
          result = take_guarded_port(at);
          break;
        case MACH_MSG_OOL_DESCRIPTOR:
        case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
          result = take_memory(at);
          break;
        default:
          result = MACH_SEND_INVALID_TYPE;
          break;
      }
      if (result != MACH_MSG_SUCCESS) return result;
      at += size_of(type);
    }
    return MACH_MSG_SUCCESS;
  }

 private:
  mach_msg_return_t take_right(mach_port_name_t name, mach_msg_type_name_t disposition,
                               const mach_msg_guarded_port_descriptor_t* guarded = nullptr) {
    if (then_.full()) {
      names_.unlock();
      then_.settle(call_.after_);
      names_.lock();
    }
    carried_right& right = message_.rights()[next_right_++];
    if (!MACH_PORT_VALID(name)) {
      right = {nullptr, static_cast<std::uint8_t>(arrives_as(disposition)), name == MACH_PORT_DEAD};
      return MACH_MSG_SUCCESS;
    }
    space& names = call_.caller_.space;
    entry* found = names.find(name);
    if (!found) return MACH_SEND_INVALID_RIGHT;
    const kern_return_t failed = copy_in(names, name, *found, disposition, purpose::carrying, right,
                                         then_, call_.reply_.guard, call_.after_, guarded);
    if (failed == KERN_INVALID_RIGHT) {
      call_.reply_.guard = {kGUARD_EXC_SEND_INVALID_RIGHT, name, 0};
    }
    if (failed != KERN_SUCCESS) return MACH_SEND_INVALID_RIGHT;
    if (right.disposition == MACH_MSG_TYPE_MOVE_RECEIVE &&
        call_.after_.kernel.transit().bind(*right.target, *message_.destination.target)) {
      message_.circular = true;
    }
    return MACH_MSG_SUCCESS;
  }

  mach_msg_return_t take_port(std::byte* at) {
    auto descriptor = read<mach_msg_port_descriptor_t>(at);
    const mach_msg_return_t result = take_right(descriptor.name, descriptor.disposition);
    descriptor.name = MACH_PORT_NULL;
    descriptor.disposition = arrives_as(descriptor.disposition) & 0xff;
    write(at, descriptor);
    return result;
  }

  mach_msg_return_t take_guarded_port(std::byte* at) {
    auto descriptor = read<mach_msg_guarded_port_descriptor_t>(at);
    const mach_msg_return_t result =
        take_right(descriptor.name, descriptor.disposition, &descriptor);
    descriptor.name = MACH_PORT_NULL;
    descriptor.context = 0;
    write(at, descriptor);
    return result;
  }

  mach_msg_return_t take_memory(std::byte* at) {
    auto descriptor = read<mach_msg_ool_descriptor_t>(at);
    carried_memory& memory = message_.memories()[next_memory_++];
    if (descriptor.size > 0) {
      const taking how{descriptor.copy == MACH_MSG_VIRTUAL_COPY, descriptor.deallocate != 0};
      names_.unlock();
      const kern_return_t result =
          call_.memory_.take(address_of(descriptor.address), descriptor.size, how, memory);
      names_.lock();
      if (result == KERN_RESOURCE_SHORTAGE) return MACH_MSG_VM_KERNEL;
      if (result != KERN_SUCCESS) return MACH_SEND_INVALID_MEMORY;
    }
    descriptor.address = nullptr;
    write(at, descriptor);
    return MACH_MSG_SUCCESS;
  }

  mach_msg_return_t take_ports(std::byte* at) {
    auto descriptor = read<mach_msg_ool_ports_descriptor_t>(at);
    const std::uint32_t first = next_right_;
    const std::uint32_t count = descriptor.count;
    if (count > 0) {
      const std::unique_ptr<mach_port_name_t[]> names(new (std::nothrow) mach_port_name_t[count]);
      if (!names) return MACH_SEND_NO_BUFFER;
      const std::size_t size = count * sizeof(mach_port_name_t);
      const user_address from = address_of(descriptor.address);
      names_.unlock();
      const bool readable = call_.memory_.in_checked(from, names.get(), size);
      if (readable && descriptor.deallocate) call_.memory_.deallocate(from, size);
      names_.lock();
      if (!readable) return MACH_SEND_INVALID_MEMORY;
      for (std::uint32_t index = 0; index < count; ++index) {
        const mach_msg_return_t result = take_right(names[index], descriptor.disposition);
        if (result != MACH_MSG_SUCCESS) {
          give_back(first);
          return result;
        }
      }
    }
    descriptor.address = nullptr;
    descriptor.disposition = arrives_as(descriptor.disposition) & 0xff;
    write(at, descriptor);
    return MACH_MSG_SUCCESS;
  }

  // An array goes as a whole, before the rights that were taken ahead of it.
  void give_back(std::uint32_t first) {
    names_.unlock();
    then_.settle(call_.after_);
    for (std::uint32_t index = first; index < next_right_; ++index) {
      release_right(message_.rights()[index], call_.after_);
    }
    names_.lock();
  }

  static user_address address_of(const void* address) noexcept {
    return reinterpret_cast<std::uintptr_t>(address);
  }

  message_call& call_;
  kmsg& message_;
  owed& then_;
  std::unique_lock<space_lock> names_;
  std::uint32_t next_right_ = 0;
  std::uint32_t next_memory_ = 0;
};

mach_msg_return_t message_call::copy_in_body(kmsg& message, owed& then) {
  return body_copy_in(*this, message, then).run();
}

// Proceeds whatever fails, and tells all that did.
class message_call::body_copy_out {
 public:
  body_copy_out(message_call& call, kmsg& message, bool pseudo) noexcept
      : call_(call), message_(message), pseudo_(pseudo), names_(call.caller_.space.lock) {}

  // From the last descriptor to the first (Darwin: ipc_kmsg_copyout_body). Until its turn comes
  // each keeps the length of the one before it where its name or address will be.
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
      // Some have become shorter.
      std::memmove(from, end_, static_cast<std::size_t>(message_.bytes() + message_.size - end_));
      message_.size -= static_cast<mach_msg_size_t>(end_ - from);
    }
    return result_;
  }

 private:
  // An immovable receive right arrives guarded with the address of the receive buffer.
  mach_port_name_t give_right(carried_right& right, bool immovable = false) {
    port* const target = right.target;
    const bool receive = target && right.disposition == MACH_MSG_TYPE_MOVE_RECEIVE;
    if (receive) call_.after_.kernel.transit().unbind(*target);
    mach_port_name_t name = MACH_PORT_NULL;
    if (copy_out(call_.caller_.space, right, name) != KERN_SUCCESS) {
      result_ |= MACH_MSG_IPC_SPACE;
    } else if (receive && immovable && name != MACH_PORT_DEAD) {
      // The space, which is locked, holds the port by now.
      const std::lock_guard locked(target->lock);
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
      // The receiver does not know the kind: the right is destroyed.
      mach_msg_port_descriptor_t plain{};
      plain.type = MACH_MSG_PORT_DESCRIPTOR;
      plain.disposition = right.disposition;
      if (right.target) call_.after_.kernel.transit().unbind(*right.target);
      names_.unlock();
      release_right(right, call_.after_);
      names_.lock();
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
    user_address at = 0;
    if (memory.object) {
      if (!pseudo_) memory.origin = 0;
      names_.unlock();
      const kern_return_t given = call_.memory_.give(memory, at);
      names_.lock();
      if (given != KERN_SUCCESS) {
        result_ |= given == KERN_RESOURCE_SHORTAGE ? MACH_MSG_VM_KERNEL : MACH_MSG_VM_SPACE;
        descriptor.size = 0;
      }
    }
    descriptor.address = reinterpret_cast<void*>(at);
    descriptor.deallocate = descriptor.copy == MACH_MSG_VIRTUAL_COPY;
    put(descriptor);
  }

  void give_ports(const std::byte* from) {
    auto descriptor = read<mach_msg_ool_ports_descriptor_t>(from);
    const std::size_t size = descriptor.count * sizeof(mach_port_name_t);
    rights_left_ -= descriptor.count;
    user_address at = 0;
    if (size > 0) {
      const std::unique_ptr<mach_port_name_t[]> names(new (std::nothrow)
                                                          mach_port_name_t[descriptor.count]);
      names_.unlock();
      const bool room = names && call_.memory_.allocate(size, at) == KERN_SUCCESS;
      names_.lock();
      if (room) {
        for (std::uint32_t index = 0; index < descriptor.count; ++index) {
          names[index] = give_right(message_.rights()[rights_left_ + index]);
        }
        call_.memory_.out(names.get(), at, size);
      } else {
        // The rights are destroyed with the message.
        result_ |= names ? MACH_MSG_VM_SPACE : MACH_MSG_VM_KERNEL;
      }
    }
    descriptor.address = reinterpret_cast<void*>(at);
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
  std::byte* end_ = nullptr;  // where those that are done begin
};

mach_msg_size_t size_inside(kmsg& message) noexcept {
  mach_msg_size_t size = message.size + 2 * sizeof(mach_port_name_t);
  if (!message.complex) return size;
  const std::byte* at = descriptors(message);
  for (std::uint32_t left = descriptor_count(message); left > 0; --left) {
    const std::size_t length = size_of(type_at(at));
    size += static_cast<mach_msg_size_t>(sizeof(mach_msg_ool_descriptor_t) - length);
    at += length;
  }
  return size;
}

mach_msg_return_t message_call::copy_out_body(kmsg& message, bool pseudo) {
  return body_copy_out(*this, message, pseudo).run();
}

}  // namespace kedge::mach::kernel
