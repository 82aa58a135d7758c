// Implements message_retention over two buffers: the message's own, and the copy that is sent.
#include "kedge/mach/message_retention.h"

#include <cstring>
#include <span>
#include <utility>

#include "kedge/mach/raw_descriptor.h"
#include "kedge/mach/right_in_message.h"

namespace kedge::mach {
namespace {

std::span<mach_port_name_t> names_of(const mach_msg_ool_ports_descriptor_t& array) noexcept {
  if (array.address == nullptr) return {};
  return {static_cast<mach_port_name_t*>(array.address), array.count};
}

mach_msg_type_name_t copied(mach_msg_type_name_t disposition) noexcept {
  return disposition == MACH_MSG_TYPE_MOVE_SEND ? mach_msg_type_name_t{MACH_MSG_TYPE_COPY_SEND}
                                                : disposition;
}

// Makes the kernel copy what the descriptor holds, if it can be copied.
void copy_contents(std::byte* at) noexcept {
  switch (read_descriptor<mach_msg_type_descriptor_t>(at).type) {
    case MACH_MSG_PORT_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_port_descriptor_t>(at);
      d.disposition = copied(d.disposition) & 0xff;
      return write_descriptor(at, d);
    }
    case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_ool_ports_descriptor_t>(at);
      d.disposition = copied(d.disposition) & 0xff;
      d.deallocate = 0;
      return write_descriptor(at, d);
    }
    case MACH_MSG_OOL_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_ool_descriptor_t>(at);
      d.deallocate = 0;
      return write_descriptor(at, d);
    }
    default:
      return;
  }
}

void release_copied(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept {
  if (disposition == MACH_MSG_TYPE_MOVE_SEND) release_right_in_message(name, disposition);
}

// Releases the contents of a descriptor that copy_contents() has made the kernel copy.
void release_contents(std::byte* at) noexcept {
  switch (read_descriptor<mach_msg_type_descriptor_t>(at).type) {
    case MACH_MSG_PORT_DESCRIPTOR: {
      const auto d = read_descriptor<mach_msg_port_descriptor_t>(at);
      return release_copied(d.name, d.disposition);
    }
    case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
      const auto d = read_descriptor<mach_msg_ool_ports_descriptor_t>(at);
      for (const mach_port_name_t name : names_of(d)) release_copied(name, d.disposition);
      static_cast<void>(memory_region::adopt(d.address, d.count * sizeof(mach_port_name_t)));
      return;
    }
    case MACH_MSG_OOL_DESCRIPTOR: {
      const auto d = read_descriptor<mach_msg_ool_descriptor_t>(at);
      static_cast<void>(memory_region::adopt(d.address, d.size));
      return;
    }
    default:
      return;
  }
}

// Clears the name of a right that can only be moved, if the kernel has consumed it. Returns true if
// it has.
template <class Name>
bool forget_consumed(Name& name, mach_msg_type_name_t disposition) noexcept {
  if (!MACH_PORT_VALID(name)) return false;
  mach_port_type_t own = MACH_PORT_TYPE_NONE;
  if (disposition == MACH_MSG_TYPE_MOVE_RECEIVE) {
    own = MACH_PORT_TYPE_RECEIVE;
  } else if (disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE) {
    own = MACH_PORT_TYPE_SEND_ONCE | MACH_PORT_TYPE_DEAD_NAME;
  } else {
    return false;
  }
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  if (mach_port_type(mach_task_self(), name, &type) == KERN_SUCCESS && (type & own) != 0) {
    return false;
  }
  name = MACH_PORT_NULL;
  return true;
}

// The same for the rights of a descriptor.
bool forget_consumed(std::byte* at) noexcept {
  bool was_consumed = false;
  switch (read_descriptor<mach_msg_type_descriptor_t>(at).type) {
    case MACH_MSG_PORT_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_port_descriptor_t>(at);
      was_consumed = forget_consumed(d.name, d.disposition);
      write_descriptor(at, d);
      break;
    }
    case MACH_MSG_GUARDED_PORT_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_guarded_port_descriptor_t>(at);
      was_consumed = forget_consumed(d.name, d.disposition);
      write_descriptor(at, d);
      break;
    }
    case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
      const auto d = read_descriptor<mach_msg_ool_ports_descriptor_t>(at);
      for (mach_port_name_t& name : names_of(d)) {
        was_consumed |= forget_consumed(name, d.disposition);
      }
      break;
    }
    default:
      break;
  }
  return was_consumed;
}

}  // namespace

message_retention::message_retention(message& m) : own_(m.buffer_.size()) {
  std::swap(own_, m.buffer_);
  m.parts() = own_.head();
  std::memcpy(m.buffer_.data(), own_.data(), m.parts().size + sizeof(natural_t));
  std::size_t index = 0;
  for (const descriptor& each : m.list()) {
    if (each.what() == descriptor::kind::rights) ahead_ = index;
    ++index;
  }
  mach_msg_header_t& sent = m.buffer_.header();
  sent.msgh_bits = MACH_MSGH_BITS_SET(
      copied(MACH_MSGH_BITS_REMOTE(sent.msgh_bits)), copied(m.reply_disposition()),
      copied(m.voucher_disposition()), MACH_MSGH_BITS_OTHER(sent.msgh_bits));
  for_each_ahead(m.buffer_, copy_contents);
}

template <class F>
void message_retention::for_each_ahead(const message::buffer& buffer, F f) const noexcept {
  std::byte* at = buffer.data() + sizeof(mach_msg_base_t);
  const std::size_t all_bytes = buffer.head().descriptor_bytes;
  for (std::size_t left = ahead_; left != 0; --left) {
    // f() may change what the descriptor holds, but not its size.
    const descriptor_list one(at, all_bytes, 1);
    f(at);
    at += one.bytes();
  }
}

void message_retention::release() noexcept {
  const mach_msg_header_t& header = own_.header();
  // After an interruption the destination is moved too: the kernel has given a reference back.
  release_copied(header.msgh_remote_port, MACH_MSGH_BITS_REMOTE(header.msgh_bits));
  release_copied(header.msgh_local_port, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  release_copied(header.msgh_voucher_port, MACH_MSGH_BITS_VOUCHER(header.msgh_bits));
  for_each_ahead(own_, release_contents);
}

void message_retention::restore(message& m) noexcept {
  std::swap(own_, m.buffer_);
  mach_msg_header_t& header = m.buffer_.header();
  bool was_consumed =
      forget_consumed(header.msgh_remote_port, MACH_MSGH_BITS_REMOTE(header.msgh_bits));
  was_consumed |= forget_consumed(header.msgh_local_port, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  for_each_ahead(m.buffer_, [&](std::byte* at) { was_consumed |= forget_consumed(at); });
  if (was_consumed) m.clear();
}

}  // namespace kedge::mach
