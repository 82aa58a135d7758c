// Asking for a notification (Darwin: mach_port_request_notification).
#pragma once

#include <mach/message.h>

#include "kedge/mach/kernel/core/profile.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/core/space.h"

namespace kedge::mach::kernel {

class port;

// Registers `notify`, a send-once right or null (which cancels), for the event `id` of the right
// under `name`; the one that was registered before goes to `previous`. Consumes `notify` on
// success. The space must not be locked.
kern_return_t request_notification_at(space& in, mach_port_name_t name, mach_msg_id_t id,
                                      mach_port_mscount_t sync, port* notify, port*& previous,
                                      profile answers, guard_violation& guard, owed& then);

}  // namespace kedge::mach::kernel
