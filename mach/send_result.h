// transmit(): one try to hand a message to the kernel, and the book-keeping of who owns what after.
#pragma once

#include <mach/mach.h>

#include "kedge/mach/message.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

struct send_result {
  mach_msg_return_t code;  // without the bits of MACH_MSG_MASK
  // The destination, where the kernel gave it back: a reference of its own, made by the kernel or
  // the one that was moved in. A send-once right is held by it as well.
  send_right destination;
};

// Sends m to `to`; never blocks. `disposition` says how the right is used: COPY_SEND lends it,
// MOVE_SEND and MOVE_SEND_ONCE give it up. After:
//   MACH_MSG_SUCCESS: m is empty. The message has been sent, or destroyed with a destination that
//     died just then: success is not delivery.
//   what mach_msg refuses after having consumed an unknown part (MACH_SEND_INVALID_RIGHT and its
//     like): m is empty, and what the kernel did not consume is leaked.
//   anything else: m is whole. Where the kernel has put the message back into the buffer
//     (MACH_SEND_TIMED_OUT; ipc_kmsg_copyout_pseudo) names may differ from before.
send_result transmit(message& m, mach_port_name_t to, mach_msg_type_name_t disposition) noexcept;

}  // namespace kedge::mach
