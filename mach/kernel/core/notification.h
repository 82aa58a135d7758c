// The kernel's notifications: each consumes the send-once right it is sent to. They ignore queue
// limits. No lock may be held.
#pragma once

#include <mach/port.h>

#include "kedge/mach/kernel/core/deferred_work.h"

namespace kedge::mach::kernel {

class port;

void notify_port_deleted(port* to, mach_port_name_t name, deferred_work& after) noexcept;
void notify_send_possible(port* to, mach_port_name_t name, deferred_work& after) noexcept;
void notify_dead_name(port* to, mach_port_name_t name, deferred_work& after) noexcept;
void notify_no_senders(port* to, mach_port_mscount_t count, deferred_work& after) noexcept;
void notify_send_once(port* to, deferred_work& after) noexcept;
// Also consumes the receive right, one reference.
void notify_port_destroyed(port* to, port* receive_right, deferred_work& after) noexcept;

// Puts a message of the kernel's making into its destination, or destroys it if that is dead.
void post_from_kernel(kmsg* message, deferred_work& after) noexcept;

}  // namespace kedge::mach::kernel
