// transmit(): tries once to send a message, and records which rights the caller still owns
// afterwards. It is the one place that knows how mach_msg's send codes divide ownership.
#pragma once

#include <mach/mach.h>

#include "kedge/mach/message.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

struct send_result {
  mach_msg_return_t code;  // without the bits of MACH_MSG_MASK
  // The reference to the destination that the kernel gave back, if any: either a new one, or the
  // one that was moved in. It may also hold a send-once right.
  send_right destination;
};

// Sends `m` to `to`. Never blocks. `disposition` is COPY_SEND, which borrows the right, or
// MOVE_SEND or MOVE_SEND_ONCE, which consumes it. What remains depends on the code:
//   MACH_MSG_SUCCESS: `m` is empty. The message was queued, or it was destroyed because its
//     destination died during the call: success is not delivery.
//   A code with which mach_msg has consumed an unknown part of the message
//     (MACH_SEND_INVALID_RIGHT and others, see consumed_in_part()): `m` is empty. Rights that the
//     kernel did not consume are leaked.
//   Any other code: `m` is whole. If the kernel has put the message back into the buffer
//     (MACH_SEND_TIMED_OUT, ipc_kmsg_copyout_pseudo), names in it may differ from before.
send_result transmit(message& m, mach_port_name_t to, mach_msg_type_name_t disposition) noexcept;

}  // namespace kedge::mach
