// Implements received: parses a received Mach message, whose contents are not trusted.
#include "kedge/mach/received.h"

#include <algorithm>
#include <utility>

namespace kedge::mach {
namespace {

mach_msg_descriptor_type_t type_of(const std::byte* descriptor) noexcept {
  mach_msg_type_descriptor_t d;
  std::memcpy(&d, descriptor, sizeof d);
  return d.type;
}

std::size_t size_of(const std::byte* descriptor) noexcept {
  return type_of(descriptor) == MACH_MSG_PORT_DESCRIPTOR ? sizeof(mach_msg_port_descriptor_t)
                                                         : sizeof(mach_msg_ool_descriptor_t);
}

}  // namespace

mach_msg_audit_trailer_t received::no_trailer() noexcept {
  mach_msg_audit_trailer_t t{};
  std::fill(std::begin(t.msgh_audit.val), std::end(t.msgh_audit.val), ~0u);
  return t;
}

received::received(message_buffer&& buffer) noexcept : buffer_(std::move(buffer)) {
  parse();
}

received& received::operator=(received&& other) noexcept {
  if (this != &other) {
    clear();
    buffer_ = std::move(other.buffer_);
    rights_ = other.rights_;
    offset_ = other.offset_;
    trailer_ = other.trailer_;
  }
  return *this;
}

void received::parse() noexcept {
  mach_msg_header_t& header = buffer_.header();
  header.msgh_size = std::clamp(header.msgh_size, mach_msg_size_t{sizeof(mach_msg_header_t)},
                                static_cast<mach_msg_size_t>(buffer_.size()));
  const std::size_t size = header.msgh_size;
  offset_ = sizeof(mach_msg_header_t);
  if (MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits) && size >= sizeof(mach_msg_base_t)) {
    mach_msg_body_t body;
    std::memcpy(&body, buffer_.data() + offset_, sizeof body);
    offset_ = sizeof(mach_msg_base_t);
    while (rights_ < body.msgh_descriptor_count &&
           size - offset_ >= sizeof(mach_msg_port_descriptor_t) &&
           size - offset_ >= size_of(buffer_.data() + offset_)) {
      offset_ += size_of(buffer_.data() + offset_);
      ++rights_;
    }
    // The kernel lets only the right count pass. If it ever did not, mach_msg_destroy must still
    // not read more descriptors than were counted here.
    body.msgh_descriptor_count = static_cast<mach_msg_size_t>(rights_);
    std::memcpy(buffer_.data() + sizeof(mach_msg_header_t), &body, sizeof body);
  }
  const std::size_t end = round_msg(header.msgh_size);
  if (end <= buffer_.size() && buffer_.size() - end >= sizeof trailer_) {
    mach_msg_audit_trailer_t t;
    std::memcpy(&t, buffer_.data() + end, sizeof t);
    if (t.msgh_trailer_type == MACH_MSG_TRAILER_FORMAT_0 && t.msgh_trailer_size >= sizeof t) {
      trailer_ = t;
    }
  }
}

std::span<const std::byte> received::bytes() const noexcept {
  if (!*this) return {};
  return {buffer_.data() + offset_, buffer_.header().msgh_size - offset_};
}

std::string_view received::text() const noexcept {
  const std::span<const std::byte> all = bytes();
  std::string_view text(reinterpret_cast<const char*>(all.data()), all.size());
  for (int padding = 3; padding > 0 && !text.empty() && text.back() == '\0'; --padding) {
    text.remove_suffix(1);
  }
  return text;
}

// Returns null if there is no descriptor `i`.
std::byte* received::descriptor(std::size_t i) const noexcept {
  if (!*this || i >= rights_) return nullptr;
  std::byte* d = buffer_.data() + sizeof(mach_msg_base_t);
  while (i-- != 0) d += size_of(d);
  return d;
}

mach_port_name_t received::take(std::size_t i, mach_msg_type_name_t disposition) noexcept {
  std::byte* const raw = descriptor(i);
  if (raw == nullptr || type_of(raw) != MACH_MSG_PORT_DESCRIPTOR) return MACH_PORT_NULL;
  auto& d = *reinterpret_cast<mach_msg_port_descriptor_t*>(raw);
  if (d.disposition != disposition) return MACH_PORT_NULL;
  return std::exchange(d.name, mach_port_t{MACH_PORT_NULL});
}

receive_right received::take_receive(std::size_t i) {
  const mach_port_name_t name = take(i, MACH_MSG_TYPE_MOVE_RECEIVE);
  if (!MACH_PORT_VALID(name)) return {};
  try {
    return receive_right::adopt(name);
  } catch (...) {
    reinterpret_cast<mach_msg_port_descriptor_t*>(descriptor(i))->name = name;
    throw;
  }
}

reply_right received::take_reply() noexcept {
  if (!*this) return {};
  mach_msg_header_t& header = buffer_.header();
  return reply_right::adopt(std::exchange(header.msgh_remote_port, mach_port_t{MACH_PORT_NULL}),
                            MACH_MSGH_BITS_REMOTE(header.msgh_bits));
}

bool received::arrived_on(const receive_right& right) const noexcept {
  return *this && right && buffer_.header().msgh_local_port == right.name();
}

bool received::from_kernel() const noexcept {
  constexpr security_token_t kernel = KERNEL_SECURITY_TOKEN_VALUE;
  constexpr audit_token_t kernel_audit = KERNEL_AUDIT_TOKEN_VALUE;
  return std::equal(std::begin(kernel.val), std::end(kernel.val),
                    std::begin(trailer_.msgh_sender.val)) &&
         std::equal(std::begin(kernel_audit.val), std::end(kernel_audit.val),
                    std::begin(trailer_.msgh_audit.val));
}

void received::clear() noexcept {
  if (!*this) return;
  std::byte* at = buffer_.data() + sizeof(mach_msg_base_t);
  for (std::size_t i = 0; i < rights_; ++i, at += size_of(at)) {
    if (type_of(at) != MACH_MSG_OOL_DESCRIPTOR && type_of(at) != MACH_MSG_OOL_VOLATILE_DESCRIPTOR) {
      continue;
    }
    // A physical copy arrives without the flag; mach_msg_destroy would leave its memory allocated.
    mach_msg_ool_descriptor_t d;
    std::memcpy(&d, at, sizeof d);
    d.deallocate = 1;
    std::memcpy(at, &d, sizeof d);
  }
  mach_msg_header_t& header = buffer_.header();
  if (rights_ != 0 || header.msgh_remote_port != MACH_PORT_NULL) mach_msg_destroy(&header);
  const message_buffer released = std::move(buffer_);
  rights_ = offset_ = 0;
}

}  // namespace kedge::mach
