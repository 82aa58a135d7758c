#include "kedge/mach/message.h"

#include <algorithm>
#include <utility>

#include "kedge/mach/right_in_message.h"

namespace kedge::mach {
namespace {

// A typical small message fits in one block of the smallest useful size.
constexpr std::size_t smallest_block = 256;

}  // namespace

message::message(message&& other) noexcept
    : block_(std::move(other.block_)),
      size_(std::exchange(other.size_, 0)),
      rights_(std::exchange(other.rights_, 0)) {}

message& message::operator=(message&& other) noexcept {
  if (this != &other) {
    clear();
    block_ = std::move(other.block_);
    size_ = std::exchange(other.size_, 0);
    rights_ = std::exchange(other.rights_, 0);
  }
  return *this;
}

void message::clear() noexcept {
  if (block_.data() == nullptr) return;
  const mach_msg_header_t& header = block_.header();
  release_right_in_message(header.msgh_local_port, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  for (std::size_t i = 0; i < rights_; ++i) {
    release_right_in_message(descriptors()[i].name, descriptors()[i].disposition);
  }
  block gone = std::move(block_);
  size_ = rights_ = 0;
}

mach_msg_id_t message::id() const noexcept {
  return *this ? block_.header().msgh_id : 0;
}

std::span<const std::byte> message::bytes() const noexcept {
  if (!*this) return {};
  return {block_.data() + offset(), size_ - offset()};
}

std::size_t message::offset() const noexcept {
  return rights_ == 0 ? sizeof(mach_msg_header_t)
                      : sizeof(mach_msg_base_t) + rights_ * sizeof(mach_msg_port_descriptor_t);
}

mach_msg_port_descriptor_t* message::descriptors() const noexcept {
  return reinterpret_cast<mach_msg_port_descriptor_t*>(block_.data() + sizeof(mach_msg_base_t));
}

void message::begin(mach_msg_id_t id, std::size_t room) {
  reserve(sizeof(mach_msg_base_t) + room);
  block_.header() = {};
  block_.header().msgh_id = id;
  size_ = sizeof(mach_msg_header_t);
}

// Makes the block hold `size` bytes, and the zeros that may follow.
void message::reserve(std::size_t size) {
  size += sizeof(natural_t);
  if (size <= block_.size()) return;
  block larger(std::max({size, block_.size() * 2, smallest_block}));
  if (size_ != 0) std::memcpy(larger.data(), block_.data(), size_);
  std::swap(block_, larger);
}

void message::append(std::span<const std::byte> bytes) {
  if (!*this) begin(0, bytes.size());
  if (bytes.empty()) return;
  reserve(size_ + bytes.size());
  std::memcpy(block_.data() + size_, bytes.data(), bytes.size());
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
  std::memmove(block_.data() + offset(), block_.data() + old_offset, size_ - old_offset);
  size_ += offset() - old_offset;
  mach_msg_port_descriptor_t d{};
  d.name = name;
  d.disposition = static_cast<unsigned char>(disposition);
  d.type = MACH_MSG_PORT_DESCRIPTOR;
  descriptors()[rights_ - 1] = d;
  const mach_msg_body_t body{static_cast<mach_msg_size_t>(rights_)};
  std::memcpy(block_.data() + sizeof(mach_msg_header_t), &body, sizeof body);
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
  mach_msg_header_t& header = block_.header();
  release_right_in_message(header.msgh_local_port, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  header.msgh_local_port = name;
  header.msgh_bits = MACH_MSGH_BITS(0u, name == MACH_PORT_NULL ? 0u : disposition);
}

}  // namespace kedge::mach
