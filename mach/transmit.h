// transmit(): tries once to send a message, and records which rights the caller still owns
// afterwards. It is the one place that knows how mach_msg's send codes divide ownership.
#pragma once

#include <mach/mach.h>

#include <cstring>

#include "kedge/mach/blocking_trap.h"
#include "kedge/mach/kernel/extension.h"
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

inline constexpr mach_msg_option_t transmit_options =
    MACH_SEND_MSG | MACH_SEND_TIMEOUT | MACH_SEND_INTERRUPT;

// For destination::transmit(), which sends a plain message by kernel::send() itself, and for
// transmit(): what a message needs in order to be sent.
class outgoing {
 public:
  // Writes what the header and the bytes of `m` lack. Returns the size to send.
  static mach_msg_size_t address(const message& m, mach_port_name_t to,
                                 mach_msg_type_name_t disposition) noexcept {
    mach_msg_header_t& header = m.buffer_.header();
    // The message is at most 48 MiB long: its builder has seen to that.
    const auto size = static_cast<mach_msg_size_t>(m.parts().size);
    // The buffer has room for one word more than the bytes.
    const natural_t padding = 0;
    std::memcpy(m.buffer_.data() + size, &padding, sizeof padding);
    header.msgh_bits =
        (header.msgh_bits & ~mach_msg_bits_t{MACH_MSGH_BITS_REMOTE_MASK}) | disposition;
    header.msgh_remote_port = to;
    // mach_msg takes the size from its argument. When it gives a message back it sets this one.
    header.msgh_size = 0;
    return round_msg(size);
  }
  // Returns true if the message owns its reply right: one that the kernel makes is no such.
  static bool has_own_reply(const message& m) noexcept {
    const mach_msg_type_name_t disposition = m.reply_disposition();
    return disposition == MACH_MSG_TYPE_MOVE_SEND || disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  }
  // Returns true if nothing is to be done for the message before it is sent.
  static bool is_plain(const message& m) noexcept {
    return !m.parts().has_array && !has_own_reply(m);
  }
  static mach_msg_header_t& header_of(const message& m) noexcept { return m.buffer_.header(); }
  // Consumes a message that was sent.
  static void forget(message& m) noexcept { m.forget(); }
};

// Does what follows from a kernel::send() of a plain message that has failed with `code`.
send_result finish_plain(message& m, mach_msg_size_t size, mach_msg_return_t code) noexcept;

}  // namespace kedge::mach
