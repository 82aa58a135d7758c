// right_release: gives up the rights under a name, or changes their user references.
//
// Locks: each function requires the lock of the space and leaves it held. Releasing a right can
// send notifications and destroy ports, which needs all locks free: `context.deferred` collects
// that work, at most what four rights cause (Darwin: ipc_right.c).
#pragma once

#include <mach/port.h>

#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

// mach_port_deallocate: drops one user reference of a send right or a dead name; releases a
// send-once right; destroys a set. KERN_INVALID_RIGHT for a receive right alone.
// KERN_INVALID_CAPABILITY for the last reference of a pinned right.
kern_return_t deallocate_right(const right_context& context, mach_port_name_t name, entry& held);
// mach_port_destroy: gives up all rights of the name. KERN_INVALID_RIGHT if the port is guarded,
// KERN_INVALID_CAPABILITY if the right is pinned.
kern_return_t destroy_rights(const right_context& context, mach_port_name_t name, entry& held);
// The same without regard to guards and pins, for a space that is ending (Darwin:
// ipc_right_terminate).
void terminate_rights(const right_context& context, mach_port_name_t name, entry& held);
// mach_port_mod_refs: adds `delta` to the user references of one right of the name. A receive
// right, a send-once right and a set have one reference.
kern_return_t change_refs(const right_context& context, mach_port_name_t name, entry& held,
                          mach_port_right_t right, mach_port_delta_t delta);
// mach_port_destruct: drops `-send_delta` send rights, and destroys the receive right. `guard` must
// be the port's guard, if it has one.
kern_return_t destruct_receive(const right_context& context, mach_port_name_t name, entry& held,
                               mach_port_delta_t send_delta, mach_port_context_t guard);

}  // namespace kedge::mach::kernel
