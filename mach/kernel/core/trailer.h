// The trailer of a received message.
#pragma once

#include <mach/message.h>

#include <cstddef>

#include "kedge/mach/kernel/core/kmsg.h"

namespace kedge::mach::kernel {

// Writes the trailer that the options of the receive ask for, and returns its size. There must be
// room for the largest.
inline mach_msg_size_t add_trailer(const kmsg& message, mach_msg_option_t option,
                                   std::byte* at) noexcept {
  mach_msg_max_trailer_t& trailer = *reinterpret_cast<mach_msg_max_trailer_t*>(at);
  trailer.msgh_trailer_type = MACH_MSG_TRAILER_FORMAT_0;
  trailer.msgh_trailer_size = REQUESTED_TRAILER_SIZE(option);
  if (trailer.msgh_trailer_size > MACH_MSG_TRAILER_MINIMUM_SIZE) {
    trailer.msgh_seqno = message.seqno;
    trailer.msgh_sender = message.sender;
    trailer.msgh_audit = message.audit;
    trailer.msgh_context = message.context;
    trailer.msgh_ad = MACH_MSG_FILTER_POLICY_ALLOW;
    trailer.msgh_labels = {};
  }
  return trailer.msgh_trailer_size;
}

}  // namespace kedge::mach::kernel
