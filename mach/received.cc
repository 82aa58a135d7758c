// Implements received: parses a received Mach message, whose contents are not trusted.
#include "kedge/mach/received.h"

#include <algorithm>
#include <utility>

#include "kedge/mach/misuse.h"
#include "kedge/mach/right_in_message.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

constinit const mach_msg_context_trailer_t received::no_trailer = [] {
  mach_msg_context_trailer_t t{};
  for (unsigned& word : t.msgh_audit.val) word = ~0u;
  return t;
}();

void received::find_descriptors() noexcept {
  const std::size_t size = buffer_.header().msgh_size;
  if (size < sizeof(mach_msg_base_t)) return;
  mach_msg_body_t body;
  std::memcpy(&body, buffer_.data() + contents().offset, sizeof body);
  contents().offset = sizeof(mach_msg_base_t);
  contents().descriptors = descriptor_list(buffer_.data() + contents().offset,
                                           size - contents().offset, body.msgh_descriptor_count);
  contents().offset += contents().descriptors.bytes();
  contents().descriptors.count_rights(contents().space);
}

std::span<const std::byte> received::bytes() const noexcept {
  if (!*this) return {};
  return {buffer_.data() + contents().offset, buffer_.header().msgh_size - contents().offset};
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
  if (!is_here()) return {};
  mach_msg_header_t& header = buffer_.header();
  reply_right right =
      reply_right::adopt(header.msgh_remote_port, MACH_MSGH_BITS_REMOTE(header.msgh_bits), where);
  header.msgh_remote_port = MACH_PORT_NULL;
  return right;
}

voucher received::take_voucher(const place& where) {
  if (!is_here()) return {};
  mach_msg_header_t& header = buffer_.header();
  if (MACH_MSGH_BITS_VOUCHER(header.msgh_bits) != MACH_MSG_TYPE_MOVE_SEND) return {};
  voucher taken = voucher::adopt(header.msgh_voucher_port, where);
  header.msgh_voucher_port = MACH_PORT_NULL;
  return taken;
}

bool received::arrived_on(const receive_right& right) const noexcept {
  return *this && right && buffer_.header().msgh_local_port == right.name() &&
         trailer().msgh_context == right.guard_;
}

bool received::from_kernel() const noexcept {
  constexpr security_token_t kernel = KERNEL_SECURITY_TOKEN_VALUE;
  constexpr audit_token_t kernel_audit = KERNEL_AUDIT_TOKEN_VALUE;
  return std::equal(std::begin(kernel.val), std::end(kernel.val),
                    std::begin(trailer().msgh_sender.val)) &&
         std::equal(std::begin(kernel_audit.val), std::end(kernel_audit.val),
                    std::begin(trailer().msgh_audit.val));
}

// The library releases everything itself: mach_msg_destroy() leaves volatile memory and memory that
// was copied physically allocated, and does not know guarded rights.
void received::release_rights() noexcept {
  const mach_msg_header_t& header = buffer_.header();
  contents().descriptors.release(contents().space);
  if (contents().space == space_incarnation()) {
    release_right_in_message(header.msgh_remote_port, MACH_MSGH_BITS_REMOTE(header.msgh_bits));
    release_right_in_message(header.msgh_voucher_port, MACH_MSGH_BITS_VOUCHER(header.msgh_bits));
  } else {
    report_other_space("a received message with rights", header.msgh_remote_port, contents().space);
  }
}

}  // namespace kedge::mach
