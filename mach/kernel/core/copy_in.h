// copy_in: takes a right out of a space, to be carried by a message or a call (Darwin:
// ipc_right_copyin).
//
// Locks: each function requires the lock of the space and leaves it held, unless it says otherwise.
// The steps at the top are shared with plain_message, the fast path of mach_msg.
#pragma once

#include <mach/message.h>

#include <cstdint>

#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

// What a right is copied in for.
enum class copy_in_use : std::uint8_t {
  // A right to a dead port becomes MACH_PORT_DEAD.
  carried,
  // The same, as the reply port of a message.
  reply,
  // A right to a dead port is KERN_INVALID_CAPABILITY, and nothing is consumed. A send-once right
  // that is not a dead name yet passes.
  destination,
};

// How a right is copied in.
struct copy_in_mode {
  mach_msg_type_name_t disposition = MACH_MSG_TYPE_PORT_NONE;
  copy_in_use use = copy_in_use::carried;
  // If not null: a receive right must have the guard that the descriptor says.
  const mach_msg_guarded_port_descriptor_t* guarded = nullptr;
};

// Returns the code of the guard exception that forbids this use of the port, or 0. Does not check
// whether a receive right may be moved. Requires the port lock.
inline std::uint32_t guard_code_for(const port& target, mach_msg_type_name_t disposition,
                                    copy_in_use use) noexcept {
  if (disposition == MACH_MSG_TYPE_MOVE_RECEIVE) return 0;
  const bool makes_once = disposition == MACH_MSG_TYPE_MAKE_SEND_ONCE;
  if (target.reply) {
    const bool replies = disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
    const bool allowed =
        (makes_once && use != copy_in_use::carried) || (replies && use == copy_in_use::destination);
    if (!allowed) return kGUARD_EXC_INVALID_RIGHT;
  }
  const bool makes = makes_once || disposition == MACH_MSG_TYPE_MAKE_SEND;
  if (target.immovable_send && !makes && use != copy_in_use::destination) {
    return kGUARD_EXC_IMMOVABLE;
  }
  return 0;
}

// Whether MACH_MSG_TYPE_MOVE_SEND leaves the name in use.
inline bool keeps_name(const entry& held) noexcept {
  return held.urefs > 1 || (held.type & MACH_PORT_TYPE_RECEIVE) != 0;
}

// Moves one user reference of a send right out of an entry whose name stays in use, and makes a
// reference to the port. Requires the port lock.
inline void move_send_reference(entry& held, port& target) noexcept {
  if (held.urefs > 1) {
    if (held.urefs < max_urefs) --held.urefs;
    ++target.send_rights;
  } else {
    held.type = MACH_PORT_TYPE_RECEIVE;
    held.urefs = 0;
  }
  target.retain();
}

// Returns the disposition that a right has in the receiver's message if it was sent with
// `disposition`, or MACH_MSG_TYPE_PORT_NONE if `disposition` is not one.
mach_msg_type_name_t arrives_as(mach_msg_type_name_t disposition) noexcept;

// Whether the entry holds what the disposition asks for. Changes nothing.
bool may_copy_in(const entry& held, mach_msg_type_name_t disposition) noexcept;

// Takes a right out of the space, or makes a copy of it, and writes it to `taken`. A receive right
// that was taken out must next be bound (transit) or put into a space.
//
// A failure leaves `taken` as it is.
// KERN_INVALID_RIGHT: the entry does not hold what the disposition asks for.
// KERN_INVALID_CAPABILITY: see copy_in_use; or the port's rights may not be used so, which raises a
// guard exception; or the right is pinned.
// KERN_INVALID_ARGUMENT: the guard is not the one that `mode.guarded` says.
kern_return_t copy_in(const right_context& context, mach_port_name_t name, entry& held,
                      const copy_in_mode& mode, carried_right& taken);

// Takes a copy of the send right that the caller of a routine names as an argument. Null and dead
// names are taken as such. MACH_SEND_INVALID_RIGHT: the message of such a call would be refused.
// The space must not be locked.
kern_return_t take_copy(ipc_space& names, mach_port_name_t name, carried_right& taken,
                        guard_violation& guard, deferred_work& cleanup);

}  // namespace kedge::mach::kernel
