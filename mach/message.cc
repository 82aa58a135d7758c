// Implements message: a mach_msg_header_t, descriptors and bytes in one buffer.
#include "kedge/mach/message.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/misuse.h"
#include "kedge/mach/right_in_message.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {
namespace {

mach_msg_port_descriptor_t port_descriptor(mach_port_name_t name,
                                           mach_msg_type_name_t disposition) noexcept {
  mach_msg_port_descriptor_t d{};
  d.name = name;
  d.disposition = disposition & 0xff;
  d.type = MACH_MSG_PORT_DESCRIPTOR;
  return d;
}

// A right of another space would be sent as none.
template <class Right>
void require_here(const Right& right) {
  if (!right || right.space() == space_incarnation()) return;
  throw std::logic_error(
      "kedge::mach::message: the right belongs to another space than the current one");
}

}  // namespace

void message::release_contents() noexcept {
  const mach_port_name_t reply = buffer_.header().msgh_local_port;
  const mach_port_name_t voucher = buffer_.header().msgh_voucher_port;
  if (is_here()) {
    release_right_in_message(reply, reply_disposition());
    release_right_in_message(voucher, voucher_disposition());
  } else if (parts().rights != 0 || reply != MACH_PORT_NULL || voucher != MACH_PORT_NULL) {
    report_other_space("a message with rights", reply, parts().space);
  }
  list().release(parts().space);
  forget();
}

mach_msg_id_t message::id() const noexcept {
  return *this ? buffer_.header().msgh_id : 0;
}

std::span<const std::byte> message::bytes() const noexcept {
  if (!*this) return {};
  return {buffer_.data() + offset(), parts().size - offset()};
}

std::size_t message::offset() const noexcept {
  return parts().descriptors == 0 ? sizeof(mach_msg_header_t)
                                  : sizeof(mach_msg_base_t) + parts().descriptor_bytes;
}

descriptor_list message::list() const noexcept {
  const layout& now = parts();
  if (now.descriptors == 0) return {};
  return {buffer_.data() + sizeof(mach_msg_base_t), now.descriptors, now.descriptor_bytes,
          now.stride};
}

void message::begin_here(std::size_t room) {
  if (!*this) {
    buffer_ = begin(0, room);
    return;
  }
  if (is_here()) return;
  throw std::logic_error(
      "kedge::mach::message: the message has rights of another space than the current one");
}

// Makes the buffer hold `more` bytes behind those that it has, and up to three zeros behind them.
// Requires that the message is not empty.
void message::reserve(std::size_t more) {
  const std::size_t size = parts().size + more + sizeof(natural_t);
  if (size <= buffer_.size()) return;
  buffer larger(std::max({size, buffer_.size() * 2}));
  larger.head() = parts();
  std::memcpy(larger.data(), buffer_.data(), parts().size);
  std::swap(buffer_, larger);
}

void message::require_room(std::size_t more) const {
  // The size is rounded up to a multiple of four, which the limit is.
  static_assert(max_size % sizeof(natural_t) == 0);
  if (more > max_size - (*this ? parts().size : sizeof(mach_msg_header_t))) {
    throw std::length_error("kedge::mach::message: larger than the kernel lets pass (48 MiB)");
  }
}

void message::append(std::span<const std::byte> bytes) {
  require_room(bytes.size());
  if (!*this) buffer_ = begin(0, bytes.size());
  if (bytes.empty()) return;
  reserve(bytes.size());
  std::memcpy(buffer_.data() + parts().size, bytes.data(), bytes.size());
  parts().size += bytes.size();
}

void message::append(counted_bytes part) {
  constexpr std::size_t word = sizeof(std::uint32_t);
  const std::size_t size = part.bytes.size();
  require_room(bounded(size) + 2 * word);
  if (!*this) buffer_ = begin(0, size + 2 * word);
  reserve(size + 2 * word);
  const auto count = static_cast<std::uint32_t>(size);
  const std::size_t padding = (word - size % word) % word;
  std::byte* to = buffer_.data() + parts().size;
  std::memcpy(to, &count, word);
  if (size != 0) std::memcpy(to + word, part.bytes.data(), size);
  std::memset(to + word + size, 0, padding);
  parts().size += word + size + padding;
}

void message::append(send_right&& right) {
  require_here(right);
  reserve_descriptor(sizeof(mach_msg_port_descriptor_t));
  const bool is_empty = !right;
  const mach_port_name_t name = std::move(right).release();
  // Other code has released the name, or its count of references is full.
  if (name == MACH_PORT_NULL && !is_empty)
    check(KERN_INVALID_RIGHT, "kedge::mach::message::append");
  add_right(name, MACH_MSG_TYPE_MOVE_SEND);
}

void message::append(send_once_right&& right) {
  require_here(right);
  reserve_descriptor(sizeof(mach_msg_port_descriptor_t));
  add_right(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
}

void message::append(reply_right&& right) {
  require_here(right);
  reserve_descriptor(sizeof(mach_msg_port_descriptor_t));
  const mach_msg_type_name_t disposition = right.disposition();
  add_right(std::move(right).release(), disposition);
}

void message::append(receive_right&& right) {
  require_here(right);
  reserve_descriptor(sizeof(mach_msg_port_descriptor_t));
  add_right(std::move(right).release(), MACH_MSG_TYPE_MOVE_RECEIVE);
}

void message::append(any_right&& right) {
  switch (right.what()) {
    case any_right::kind::none:
      append(send_right());
      break;
    case any_right::kind::send:
      append(std::get<send_right>(std::move(right.right_)));
      break;
    case any_right::kind::send_once:
      append(std::get<send_once_right>(std::move(right.right_)));
      break;
    case any_right::kind::receive:
      append(std::get<receive_right>(std::move(right.right_)));
      break;
    case any_right::kind::dead:
      // The receiver gets no name of it, whatever is sent.
      require_here(std::get<dead_name>(right.right_));
      reserve_descriptor(sizeof(mach_msg_port_descriptor_t));
      add_right(MACH_PORT_DEAD, MACH_MSG_TYPE_MOVE_SEND);
      break;
  }
  right = {};
}

void message::append(immovable&& right) {
  mach_msg_guarded_port_descriptor_t d{};
  require_here(right.right_);
  reserve_descriptor(sizeof d);
  d.name = std::move(right.right_).release();
  d.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
  d.flags = MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE | MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;
  d.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
  add_descriptor(d);
}

void message::append(memory_region&& memory) {
  if (memory.size() > std::numeric_limits<mach_msg_size_t>::max()) {
    throw std::length_error("kedge::mach::message: out-of-line memory of more than 4 GiB");
  }
  mach_msg_ool_descriptor_t d{};
  reserve_descriptor(sizeof d, 0);
  d.size = static_cast<mach_msg_size_t>(memory.size());
  d.address = std::move(memory).release();
  d.deallocate = 1;
  d.copy = MACH_MSG_VIRTUAL_COPY;
  d.type = MACH_MSG_OOL_DESCRIPTOR;
  add_descriptor(d, 0);
}

void message::append(std::vector<send_right>&& rights) {
  add_array(std::move(rights), MACH_MSG_TYPE_MOVE_SEND);
}
void message::append(std::vector<send_once_right>&& rights) {
  add_array(std::move(rights), MACH_MSG_TYPE_MOVE_SEND_ONCE);
}
void message::append(std::vector<receive_right>&& rights) {
  add_array(std::move(rights), MACH_MSG_TYPE_MOVE_RECEIVE);
}

template <class Right>
void message::add_array(std::vector<Right>&& rights, mach_msg_type_name_t disposition) {
  mach_msg_ool_ports_descriptor_t d{};
  for (const Right& right : rights) require_here(right);
  reserve_descriptor(sizeof d, rights.size());
  memory_region names = memory_region::make(rights.size() * sizeof(mach_port_name_t));
  d.count = static_cast<mach_msg_size_t>(rights.size());
  d.address = std::move(names).release();
  d.deallocate = 1;
  d.copy = MACH_MSG_VIRTUAL_COPY;
  d.disposition = disposition & 0xff;
  d.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
  auto* name = static_cast<mach_port_name_t*>(d.address);
  for (Right& right : rights) *name++ = std::move(right).release();
  rights.clear();
  add_descriptor(d, d.count);
  parts().has_array = true;
}

// Throws, or makes sure that a descriptor of `length` bytes with `rights` rights can be added.
void message::reserve_descriptor(std::size_t length, std::size_t rights) {
  const layout now = *this ? parts() : layout();
  if (rights > max_rights - now.rights) {
    throw std::length_error("kedge::mach::message: more rights than the kernel lets pass (16383)");
  }
  const std::size_t more = length + (now.descriptors == 0 ? sizeof(mach_msg_body_t) : 0);
  require_room(more);
  begin_here(more);
  reserve(more);
}

template <class Descriptor>
void message::add_descriptor(const Descriptor& d, std::size_t rights) noexcept {
  const std::size_t old_offset = offset();
  layout& now = parts();
  now.stride = now.descriptors == 0 || now.stride == sizeof d ? sizeof d : 0;
  ++now.descriptors;
  now.descriptor_bytes += static_cast<std::uint32_t>(sizeof d);
  now.rights = static_cast<std::uint16_t>(now.rights + rights);
  std::memmove(buffer_.data() + offset(), buffer_.data() + old_offset, now.size - old_offset);
  now.size += offset() - old_offset;
  std::memcpy(buffer_.data() + offset() - sizeof d, &d, sizeof d);
  const mach_msg_body_t body{now.descriptors};
  std::memcpy(buffer_.data() + sizeof(mach_msg_header_t), &body, sizeof body);
  buffer_.header().msgh_bits |= MACH_MSGH_BITS_COMPLEX;
}

void message::add_right(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept {
  add_descriptor(port_descriptor(name, disposition));
}

void message::reply_to(send_right&& right) {
  require_here(right);
  begin_here();
  set_reply(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND);
}

void message::reply_to(send_once_right&& right) {
  require_here(right);
  begin_here();
  set_reply(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
}

void message::reply_to(reply_right&& right) {
  require_here(right);
  begin_here();
  const mach_msg_type_name_t disposition = right.disposition();
  set_reply(std::move(right).release(), disposition);
}

reply_right message::take_reply(const place& where) {
  if (!*this || !is_here()) return {};
  const mach_msg_type_name_t disposition = reply_disposition();
  // MACH_MSG_TYPE_MAKE_SEND_ONCE: the right of a call() is made when the message is sent.
  if (disposition != MACH_MSG_TYPE_MOVE_SEND && disposition != MACH_MSG_TYPE_MOVE_SEND_ONCE) {
    return {};
  }
  mach_msg_header_t& header = buffer_.header();
  reply_right right = reply_right::adopt(header.msgh_local_port, disposition, where);
  header.msgh_local_port = MACH_PORT_NULL;
  set_bits(0, voucher_disposition());
  return right;
}

void message::carry(voucher v) {
  require_here(v);
  begin_here();
  const bool is_none = !v;
  const mach_port_name_t name = std::move(v).release();
  if (name == MACH_PORT_NULL && !is_none) check(KERN_INVALID_RIGHT, "kedge::mach::message::carry");
  mach_msg_header_t& header = buffer_.header();
  release_right_in_message(header.msgh_voucher_port, voucher_disposition());
  header.msgh_voucher_port = name;
  set_bits(reply_disposition(), name == MACH_PORT_NULL ? 0u : MACH_MSG_TYPE_MOVE_SEND);
}

voucher message::take_voucher(const place& where) {
  if (!*this || !is_here() || voucher_disposition() != MACH_MSG_TYPE_MOVE_SEND) return {};
  mach_msg_header_t& header = buffer_.header();
  voucher taken = voucher::adopt(header.msgh_voucher_port, where);
  header.msgh_voucher_port = MACH_PORT_NULL;
  set_bits(reply_disposition(), 0);
  return taken;
}

void message::set_reply(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept {
  mach_msg_header_t& header = buffer_.header();
  release_right_in_message(header.msgh_local_port, reply_disposition());
  header.msgh_local_port = name;
  set_bits(name == MACH_PORT_NULL ? 0u : disposition, voucher_disposition());
}

}  // namespace kedge::mach
