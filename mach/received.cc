// Implements received: parses a received Mach message, whose contents are not trusted.
#include "kedge/mach/received.h"

#include <algorithm>
#include <utility>

#include "kedge/mach/misuse.h"
#include "kedge/mach/right_in_message.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

mach_msg_mac_trailer_t received::no_trailer() noexcept {
  mach_msg_mac_trailer_t t{};
  std::fill(std::begin(t.msgh_audit.val), std::end(t.msgh_audit.val), ~0u);
  return t;
}

received::received(message_buffer&& buffer) noexcept
    : space_(space_incarnation()), buffer_(std::move(buffer)) {
  parse();
}

received::received(received&& other) noexcept
    : space_(other.space_),
      buffer_(std::move(other.buffer_)),
      descriptors_(std::exchange(other.descriptors_, {})),
      offset_(std::exchange(other.offset_, 0)),
      tag_(std::exchange(other.tag_, 0)),
      trailer_(std::exchange(other.trailer_, no_trailer())) {}

received& received::operator=(received&& other) noexcept {
  if (this != &other) {
    clear();
    space_ = other.space_;
    buffer_ = std::move(other.buffer_);
    descriptors_ = std::exchange(other.descriptors_, {});
    offset_ = std::exchange(other.offset_, 0);
    tag_ = std::exchange(other.tag_, 0);
    trailer_ = std::exchange(other.trailer_, no_trailer());
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
    descriptors_ =
        descriptor_list(buffer_.data() + offset_, size - offset_, body.msgh_descriptor_count);
    offset_ += descriptors_.bytes();
    descriptors_.count_rights(space_);
  }
  const std::size_t end = round_msg(header.msgh_size);
  if (end <= buffer_.size()) read_trailer({buffer_.data() + end, buffer_.size() - end});
}

// The trailer stands in front of bytes that no call has written.
void received::read_trailer(std::span<const std::byte> rest) noexcept {
  mach_msg_trailer_t head;
  if (rest.size() < sizeof head) return;
  std::memcpy(&head, rest.data(), sizeof head);
  const std::size_t size = std::min<std::size_t>(head.msgh_trailer_size, sizeof trailer_);
  if (head.msgh_trailer_type != MACH_MSG_TRAILER_FORMAT_0 || size > rest.size() ||
      size < sizeof(mach_msg_context_trailer_t)) {
    return;
  }
  trailer_ = {};
  std::memcpy(&trailer_, rest.data(), size);
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

reply_right received::take_reply(const place& where) {
  if (!*this || space_ != space_incarnation()) return {};
  mach_msg_header_t& header = buffer_.header();
  reply_right right =
      reply_right::adopt(header.msgh_remote_port, MACH_MSGH_BITS_REMOTE(header.msgh_bits), where);
  header.msgh_remote_port = MACH_PORT_NULL;
  return right;
}

voucher received::take_voucher(const place& where) {
  if (!*this || space_ != space_incarnation()) return {};
  mach_msg_header_t& header = buffer_.header();
  if (MACH_MSGH_BITS_VOUCHER(header.msgh_bits) != MACH_MSG_TYPE_MOVE_SEND) return {};
  voucher taken = voucher::adopt(header.msgh_voucher_port, where);
  header.msgh_voucher_port = MACH_PORT_NULL;
  return taken;
}

bool received::arrived_on(const receive_right& right) const noexcept {
  return *this && right && buffer_.header().msgh_local_port == right.name() &&
         trailer_.msgh_context == right.guard_;
}

bool received::from_kernel() const noexcept {
  constexpr security_token_t kernel = KERNEL_SECURITY_TOKEN_VALUE;
  constexpr audit_token_t kernel_audit = KERNEL_AUDIT_TOKEN_VALUE;
  return std::equal(std::begin(kernel.val), std::end(kernel.val),
                    std::begin(trailer_.msgh_sender.val)) &&
         std::equal(std::begin(kernel_audit.val), std::end(kernel_audit.val),
                    std::begin(trailer_.msgh_audit.val));
}

// The library releases everything itself: mach_msg_destroy() leaves volatile memory and memory that
// was copied physically allocated, and does not know guarded rights.
void received::clear() noexcept {
  if (!*this) return;
  descriptors_.release(space_);
  const mach_msg_header_t& header = buffer_.header();
  if (space_ == space_incarnation()) {
    release_right_in_message(header.msgh_remote_port, MACH_MSGH_BITS_REMOTE(header.msgh_bits));
    release_right_in_message(header.msgh_voucher_port, MACH_MSGH_BITS_VOUCHER(header.msgh_bits));
  } else if (!descriptors_.empty() || header.msgh_remote_port != MACH_PORT_NULL) {
    report_other_space("a received message with rights", header.msgh_remote_port, space_);
  }
  const message_buffer released = std::move(buffer_);
  descriptors_ = {};
  offset_ = 0;
  tag_ = 0;
  trailer_ = no_trailer();
}

}  // namespace kedge::mach
