// The kernel's notifications: each consumes the send-once right it is sent to. They ignore queue
// limits. No lock may be held.
#pragma once

#include <mach/port.h>

#include "kedge/mach/kernel/core/aftermath.h"

namespace kedge::mach::kernel {

class port;

void notify_port_deleted(port* to, mach_port_name_t name, aftermath& after) noexcept;
void notify_send_possible(port* to, mach_port_name_t name, aftermath& after) noexcept;
void notify_dead_name(port* to, mach_port_name_t name, aftermath& after) noexcept;
void notify_no_senders(port* to, mach_port_mscount_t count, aftermath& after) noexcept;
void notify_send_once(port* to, aftermath& after) noexcept;
// Also consumes the receive right, one reference.
void notify_port_destroyed(port* to, port* receive_right, aftermath& after) noexcept;

// Puts a message of the kernel's making into its destination, or destroys it if that is dead.
void post_from_kernel(kmsg* message, aftermath& after) noexcept;

}  // namespace kedge::mach::kernel
