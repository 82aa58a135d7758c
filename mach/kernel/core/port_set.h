// A port set: receives for its members, which take turns. For locks see port.h.
#pragma once

#include <mach/port.h>

#include "kedge/mach/kernel/core/membership.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/profile.h"

namespace kedge::mach::kernel {

class port_set final : public object {
 public:
  port_set() noexcept : object(object_kind::port_set) {}

  mach_port_name_t name = MACH_PORT_NULL;
  base::list<membership, &membership::in_set> members;
  base::list<membership, &membership::ready> ready;  // the next to be served first
  waiters receivers;
  watchers watches;

 private:
  ~port_set() override = default;
};

// KERN_ALREADY_IN_SET if it is a member. Both must be active and belong to the same space, which is
// locked.
kern_return_t insert_member(port& member, port_set& set, deferred_work& after);
// KERN_NOT_IN_SET if it is not a member; in macOS 11, also if it was one among several sets', which
// it leaves all the same. No lock of either may be held.
kern_return_t extract_member(port& member, port_set& set, profile answers);
// Leaves all sets. The port is locked.
bool leave_all_sets(port& member) noexcept;
// The end of a set: members leave, receivers get MACH_RCV_PORT_DIED. Releases the reference. No
// lock may be held but the space's.
void destroy_port_set(ref<port_set> set, deferred_work& after) noexcept;

}  // namespace kedge::mach::kernel
