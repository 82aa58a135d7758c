// Implements message: a mach_msg_header_t, port descriptors and bytes in one buffer.
#include "kedge/mach/message.h"

#include <algorithm>
#include <utility>

#include "kedge/mach/right_in_message.h"

namespace kedge::mach {
namespace {

// A typical small message fits into the smallest buffer.
constexpr std::size_t smallest_buffer = 256;

}  // namespace

message::message(message&& other) noexcept
    : buffer_(std::move(other.buffer_)),
      size_(std::exchange(other.size_, 0)),
      rights_(std::exchange(other.rights_, 0)) {}

message& message::operator=(message&& other) noexcept {
  if (this != &other) {
    clear();
    buffer_ = std::move(other.buffer_);
    size_ = std::exchange(other.size_, 0);
    rights_ = std::exchange(other.rights_, 0);
  }
  return *this;
}

void message::clear() noexcept {
  if (buffer_.data() == nullptr) return;
  const mach_msg_header_t& header = buffer_.header();
  release_right_in_message(header.msgh_local_port, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  for (std::size_t i = 0; i < rights_; ++i) {
    release_right_in_message(descriptors()[i].name, descriptors()[i].disposition);
  }
  message_buffer released = std::move(buffer_);
  size_ = rights_ = 0;
}

mach_msg_id_t message::id() const noexcept {
  return *this ? buffer_.header().msgh_id : 0;
}

std::span<const std::byte> message::bytes() const noexcept {
  if (!*this) return {};
  return {buffer_.data() + offset(), size_ - offset()};
}

std::size_t message::offset() const noexcept {
  return rights_ == 0 ? sizeof(mach_msg_header_t)
                      : sizeof(mach_msg_base_t) + rights_ * sizeof(mach_msg_port_descriptor_t);
}

mach_msg_port_descriptor_t* message::descriptors() const noexcept {
  return reinterpret_cast<mach_msg_port_descriptor_t*>(buffer_.data() + sizeof(mach_msg_base_t));
}

void message::begin(mach_msg_id_t id, std::size_t room) {
  reserve(sizeof(mach_msg_base_t) + room);
  buffer_.header() = {};
  buffer_.header().msgh_id = id;
  size_ = sizeof(mach_msg_header_t);
}

// Makes the buffer hold `size` bytes and up to three zeros behind them.
void message::reserve(std::size_t size) {
  size += sizeof(natural_t);
  if (size <= buffer_.size()) return;
  message_buffer larger(std::max({size, buffer_.size() * 2, smallest_buffer}));
  if (size_ != 0) std::memcpy(larger.data(), buffer_.data(), size_);
  std::swap(buffer_, larger);
}

void message::append(std::span<const std::byte> bytes) {
  if (!*this) begin(0, bytes.size());
  if (bytes.empty()) return;
  reserve(size_ + bytes.size());
  std::memcpy(buffer_.data() + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
}

void message::append(send_right&& right) {
  make_room_for_right();
  add_right(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND);
}

void message::append(send_once_right&& right) {
  make_room_for_right();
  add_right(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
}

void message::append(receive_right&& right) {
  make_room_for_right();
  add_right(std::move(right).release(), MACH_MSG_TYPE_MOVE_RECEIVE);
}

void message::make_room_for_right() {
  if (!*this) begin(0, sizeof(mach_msg_port_descriptor_t));
  reserve(size_ + sizeof(mach_msg_body_t) + sizeof(mach_msg_port_descriptor_t));
}

void message::add_right(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept {
  const std::size_t old_offset = offset();
  ++rights_;
  std::memmove(buffer_.data() + offset(), buffer_.data() + old_offset, size_ - old_offset);
  size_ += offset() - old_offset;
  mach_msg_port_descriptor_t descriptor{};
  descriptor.name = name;
  descriptor.disposition = static_cast<unsigned char>(disposition);
  descriptor.type = MACH_MSG_PORT_DESCRIPTOR;
  descriptors()[rights_ - 1] = descriptor;
  const mach_msg_body_t body{static_cast<mach_msg_size_t>(rights_)};
  std::memcpy(buffer_.data() + sizeof(mach_msg_header_t), &body, sizeof body);
}

void message::reply_to(send_right&& right) {
  if (!*this) begin(0, 0);
  set_reply(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND);
}

void message::reply_to(send_once_right&& right) {
  if (!*this) begin(0, 0);
  set_reply(std::move(right).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
}

void message::set_reply(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept {
  mach_msg_header_t& header = buffer_.header();
  release_right_in_message(header.msgh_local_port, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  header.msgh_local_port = name;
  header.msgh_bits = MACH_MSGH_BITS(0u, name == MACH_PORT_NULL ? 0u : disposition);
}

}  // namespace kedge::mach
