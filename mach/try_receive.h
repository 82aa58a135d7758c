// try_receive(): tries once to receive a message.
#pragma once

#include <mach/mach.h>

#include <cstddef>

#include "kedge/mach/received.h"

namespace kedge::mach {

// Takes the next message from the receive right or port set `name`. Never blocks.
// `expected_size` is the number of bytes, trailer included, to allocate first. On success it is set
// to what this message needed.
// Returns mach_msg's code without the bits of MACH_MSG_MASK; `into` is assigned only with
// MACH_MSG_SUCCESS:
//   MACH_RCV_TIMED_OUT: no message is queued.
//   MACH_RCV_BODY_ERROR: the kernel could copy out only a part of the message. The message is gone
//     and what was copied out is released.
//   KERN_RESOURCE_SHORTAGE: no memory for the buffer. The message stays queued.
mach_msg_return_t try_receive(mach_port_name_t name, std::size_t& expected_size,
                              received& into) noexcept;

}  // namespace kedge::mach
