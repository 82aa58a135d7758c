// release_right_in_message(): releases a right that a message's header or descriptor holds.
#pragma once

#include <mach/mach.h>

namespace kedge::mach {

// Releases the right `name` according to `disposition`. Has no effect for dispositions that own no
// right (COPY_*, MAKE_*), and for MACH_PORT_NULL and MACH_PORT_DEAD. A receive right must have no
// guard; rights in messages have none.
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
