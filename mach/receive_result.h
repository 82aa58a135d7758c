// receive_now(): one try to receive a message.
#pragma once

#include <mach/mach.h>

#include <cstddef>

#include "kedge/mach/received.h"

namespace kedge::mach {

// Takes the next message of the right or set `name`, if there is one; never blocks. `expected` is
// the size of the block to try with; it is set to what this message took. Returns mach_msg's code
// without the bits of MACH_MSG_MASK; `into` is filled with MACH_MSG_SUCCESS only.
// MACH_RCV_TIMED_OUT: there is no message. KERN_RESOURCE_SHORTAGE: no memory, and the message stays
// queued. Of a message that came out only in part (MACH_RCV_BODY_ERROR) everything is released.
mach_msg_return_t receive_now(mach_port_name_t name, std::size_t& expected,
                              received& into) noexcept;

}  // namespace kedge::mach
