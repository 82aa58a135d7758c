// ipc_port_set: receives for its members, which take turns (Darwin: ipc_pset.c).
//
// Locks: see port.h. The receive rights of all members are in the space that holds the set.
#pragma once

#include <mach/port.h>

#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/profile.h"

namespace kedge::mach::kernel {

class ipc_port_set final : public object {
 public:
  ipc_port_set() noexcept : object(object_kind::port_set) {}

  mach_port_name_t name = MACH_PORT_NULL;
  base::list<membership, &membership::in_set> members;
  base::list<membership, &membership::ready> ready;  // members with messages, the next one first
  waiters receivers;
  watchers watches;

 private:
  ~ipc_port_set() override = default;
};

// KERN_ALREADY_IN_SET. Requires the lock of the space that holds both, and that both are active. No
// lock of either may be held.
kern_return_t join_set(port& member, ipc_port_set& set, deferred_work& cleanup);
// KERN_NOT_IN_SET; in the macos11 profile see macos11_set_chain.h. Requires the lock of the space
// that holds both. No lock of either may be held.
kern_return_t leave_set(port& member, ipc_port_set& set, profile answers);
// Leaves all sets, and returns whether the port was in any. Requires the port lock.
bool leave_all_sets(port& member) noexcept;

// Removes the membership from port and set, and deletes it. Requires both locks.
void unlink(membership& gone) noexcept;

// Destroys a set: members leave, receivers get MACH_RCV_PORT_DIED. The caller has a reference, and
// keeps it until the call has returned. No lock may be held but the space's.
void destroy_port_set(ipc_port_set& set, deferred_work& cleanup) noexcept;

}  // namespace kedge::mach::kernel
