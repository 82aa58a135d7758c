// What a name in a message's header or descriptors holds, and how it is released.
#pragma once

#include <mach/mach.h>

namespace kedge::mach {

// Releases one right as `disposition` says. Dispositions that own nothing (a right to be copied or
// made), MACH_PORT_NULL and MACH_PORT_DEAD are left alone. A receive right must be without a guard,
// as those in messages are.
inline void release_right_in_message(mach_port_name_t name,
                                     mach_msg_type_name_t disposition) noexcept {
  if (!MACH_PORT_VALID(name)) return;
  if (disposition == MACH_MSG_TYPE_MOVE_RECEIVE) {
    mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_RECEIVE, -1);
  } else if (disposition == MACH_MSG_TYPE_MOVE_SEND ||
             disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE) {
    mach_port_deallocate(mach_task_self(), name);
  }
}

}  // namespace kedge::mach
