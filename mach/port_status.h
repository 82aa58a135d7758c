// read_status(): the kernel's counts for a port of the current space.
#pragma once

#include <mach/mach.h>

namespace kedge::mach {

// Sets `status` to the MACH_PORT_RECEIVE_STATUS of the receive right `name`. Returns the kernel's
// code; `status` is unchanged with an error.
inline kern_return_t read_status(mach_port_name_t name, mach_port_status_t& status) noexcept {
  mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
  return mach_port_get_attributes(mach_task_self(), name, MACH_PORT_RECEIVE_STATUS,
                                  reinterpret_cast<mach_port_info_t>(&status), &count);
}

}  // namespace kedge::mach
