// copy_out: puts a carried right into a space (Darwin: ipc_right_copyout, ipc_object_copyout).
//
// Locks: each function but copy_out_or_release() requires the lock of the space and leaves it held.
// The step at the top is shared with plain_message, the fast path of mach_msg.
#pragma once

#include <mach/message.h>

#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/profile.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

// A send right joins the entry that has the port's name already. The carried reference to the port
// remains the caller's. Requires the port lock.
inline void join_send_right(entry& held, port& target) noexcept {
  if (held.type & MACH_PORT_TYPE_SEND) {
    --target.send_rights;
    if (held.urefs < max_urefs) ++held.urefs;
  } else {
    held.type |= MACH_PORT_TYPE_SEND;
    held.urefs = 1;
  }
}

// Puts a right into the space, under the name that it has there or a new one, and empties `right`.
// Null and dead rights give MACH_PORT_NULL and MACH_PORT_DEAD. KERN_NO_SPACE: `right` is unchanged.
kern_return_t copy_out(ipc_space& names, carried_right& right, mach_port_name_t& name);

// The same for the last step of a call: locks the space, and releases the right if it has no room.
// No lock may be held.
kern_return_t copy_out_or_release(ipc_space& names, carried_right& right, mach_port_name_t& name,
                                  deferred_work& cleanup);

// The same as copy_out() under a given name. That name must be free, or denote the same port for a
// send or receive right. The errors, in this order, with `right` unchanged: those of
// ipc_space::find_slot(), KERN_INVALID_CAPABILITY (the port is dead), KERN_RIGHT_EXISTS,
// KERN_NAME_EXISTS (Darwin: ipc_object_copyout_name).
kern_return_t copy_out_at(ipc_space& names, carried_right& right, mach_port_name_t name,
                          profile answers);

}  // namespace kedge::mach::kernel
