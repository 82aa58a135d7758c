// right: what all operations on the rights under a name share (Darwin: ipc_right.c).
//
// Locks: each function requires the lock of the space and leaves it held.
// The operations: right_release.h, copy_in.h, copy_out.h, and the requests in notification.h.
#pragma once

#include <mach/port.h>

#include <cstdint>

#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/mach/kernel/core/ipc_space.h"
#include "kedge/mach/kernel/core/name_request.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

// User references that have reached this number do not change any more (Darwin:
// MACH_PORT_UREFS_MAX).
inline constexpr mach_port_urefs_t max_urefs = 65535;

// What a call that changes the rights of one space works with. Made once per call.
struct right_context {
  ipc_space& names;
  deferred_notifications& deferred;  // flushed by the caller once it holds no lock
  guard_violation& guard;            // receives the guard exception that the call raises
  deferred_work& cleanup;

  // Raises a guard exception about `name` and returns `result`.
  kern_return_t refuse(std::uint32_t code, mach_port_name_t name, kern_return_t result,
                       std::uint64_t subcode = 0) const noexcept {
    guard = {code, name, subcode};
    return result;
  }
};

// The port of an entry that is neither a dead name nor a port set.
inline port& port_of(const entry& held) noexcept {
  return static_cast<port&>(*held.target);
}

// Locks the port of a send or send-once right and returns the lock. If the port is dead, makes the
// entry the dead name that it has become and returns an empty lock (Darwin: ipc_right_check).
[[nodiscard]] object_lock lock_if_alive(ipc_space& names, mach_port_name_t name,
                                        entry& held) noexcept;

// Makes the entry of a send or send-once right to a dead port the dead name that it has become.
// Returns whether the entry is a dead name now.
bool convert_if_dead(ipc_space& names, mach_port_name_t name, entry& held) noexcept;

// Finds the live port to which `name` is a send right. KERN_INVALID_NAME: there is no such name.
// KERN_INVALID_RIGHT: the name is not a send right, or its port is dead. A right to a dead port
// becomes a dead name.
kern_return_t find_send_right(ipc_space& names, mach_port_name_t name, port*& target) noexcept;

// Finds the port whose receive right is under `name`. KERN_INVALID_NAME: there is no such name.
// KERN_INVALID_RIGHT: the name is not a receive right (Darwin: ipc_port_translate_receive).
kern_return_t find_receive_right(ipc_space& names, mach_port_name_t name, port*& target) noexcept;

// The entry becomes a dead name and keeps its user references. `notified`: it gets one more, which
// the dead-name notification carries. Requires the port lock.
void become_dead(entry& held, bool notified) noexcept;

// Drops user references of a dead name, and the name with the last one.
void drop_dead(ipc_space& names, mach_port_name_t name, entry& held,
               mach_port_urefs_t references) noexcept;

// Frees a name whose right leaves the entry. The caller takes over the entry's reference to the
// port. A request of the name is answered by a port-deleted notification. Requires the port lock.
void detach_entry(const right_context& context, mach_port_name_t name, entry& held) noexcept;

// The bits of a request in a type; none if its slot is free. Requires the port lock.
mach_port_type_t type_of(const name_request& request) noexcept;
// The type as mach_port_names reports it: with the bits of the request, and
// MACH_PORT_TYPE_DEAD_NAME for a right to a dead port. Changes nothing.
mach_port_type_t type_of(const entry& held) noexcept;

}  // namespace kedge::mach::kernel
