// guard_violation: a guard exception (EXC_GUARD of type GUARD_TYPE_MACH_PORT) that a failed call
// has raised. The task's guard_policy decides whether it is delivered.
#pragma once

#include <mach/port.h>

#include <cstdint>

namespace kedge::mach::kernel {

struct guard_violation {
  std::uint32_t code = 0;  // kGUARD_EXC_*; 0: none
  mach_port_name_t name = MACH_PORT_NULL;
  std::uint64_t subcode = 0;

  // Darwin kills every task for these exceptions. For the others it kills only hardened tasks.
  bool always_fatal() const noexcept { return code <= kGUARD_EXC_MSG_FILTERED; }
};

}  // namespace kedge::mach::kernel
