// wanted_message: what a receive takes of a message: how large it may be, and which
// trailer_elements the kernel writes behind it for the receiver.
#pragma once

#include <mach/mach.h>

#include <cstddef>

namespace kedge::mach {

// The largest message that a receive takes unless it says otherwise: header, descriptors and bytes.
// Nothing else bounds what a sender makes the receiver allocate.
inline constexpr std::size_t default_max_message = 64 * 1024;

enum class trailer_elements : mach_msg_option_t {
  // Sequence number, the sender's tokens, and the port's context.
  usual = MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_CTX),
  // These, the id that a filter of the kernel has given the message, and the sender's label.
  all = MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_LABELS),
};

struct wanted_message {
  std::size_t max = default_max_message;  // bytes, without the trailer
  trailer_elements trailer = trailer_elements::usual;
  bool voucher = false;  // whether the voucher is received with it
};

}  // namespace kedge::mach
