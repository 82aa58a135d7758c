// What can be asked about a receive right, and set (Darwin: mach_port_get_attributes,
// mach_port_set_attributes).
#pragma once

#include <mach/port.h>

#include <cstdint>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/profile.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/space.h"

namespace kedge::mach::kernel {

// `room` and the count in the answer are in words of 4 bytes. The space must not be locked.
kern_return_t get_attributes(space& in, mach_port_name_t name, mach_port_flavor_t flavor,
                             user_address info, std::uint32_t room, reply& answer, copyio& memory,
                             profile answers);
kern_return_t set_attributes(space& in, mach_port_name_t name, mach_port_flavor_t flavor,
                             user_address info, std::uint32_t count, copyio& memory,
                             deferred_work& after);

}  // namespace kedge::mach::kernel
