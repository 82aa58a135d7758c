// transmit(): tries once to send a message, and records which rights the caller still owns
// afterwards. It is the one place that knows how mach_msg's send codes divide ownership.
#pragma once

#include <mach/mach.h>

#include "kedge/mach/blocking_trap.h"
#include "kedge/mach/message.h"

namespace kedge::mach {

struct send_result {
  mach_msg_return_t code;  // without_shortage()
  // The user reference to the destination, or the send-once right to it, that the kernel gave back
  // or has not taken, if any. The caller owns it.
  mach_port_name_t returned = MACH_PORT_NULL;
  // Of a message that was sent: see kernel::sending.
  mach_port_name_t awakened = MACH_PORT_NULL;
};

// Sends `m` to `to`. Never blocks, unless `trap` is given, which makes the trap then: `code` is
// that of its send. `disposition` is COPY_SEND, which borrows the right, or MOVE_SEND or
// MOVE_SEND_ONCE, which consumes it. What remains depends on the code:
//   MACH_MSG_SUCCESS: `m` is empty. The message was queued, or it was destroyed because its
//     destination died during the call: success is not delivery.
//   A code with which mach_msg has consumed an unknown part of the message
//     (MACH_SEND_INVALID_RIGHT, MACH_MSG_VM_KERNEL and others; with some codes it depends on the
//     version of the kernel): `m` is empty. What the kernel did not consume is leaked.
//   MACH_SEND_NO_BUFFER and an empty `m`: the kernel had no memory for an array of rights, and has
//     consumed a part of the message. The rest is released (message_retention.h).
//   MACH_SEND_TIMED_OUT or INTERRUPTED and an empty `m`: the message was given back, but the space
//     had no room for all of it. What came back is released.
//   Any other code: `m` is whole. If the kernel has put the message back into the buffer
//     (MACH_SEND_TIMED_OUT, ipc_kmsg_copyout_pseudo), names and addresses in it may differ from
//     before.
// A reply right whose port has died is released, and the message is sent without one.
send_result transmit(message& m, mach_port_name_t to, mach_msg_type_name_t disposition,
                     blocking_trap* trap = nullptr) noexcept;

}  // namespace kedge::mach
