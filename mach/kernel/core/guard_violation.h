// A guard exception (EXC_GUARD of type GUARD_TYPE_MACH_PORT) that a call has raised. What becomes
// of it is for the task's guard_policy to decide; the call itself has failed.
#pragma once

#include <mach/port.h>

#include <cstdint>

namespace kedge::mach::kernel {

struct guard_violation {
  std::uint32_t code = 0;  // kGUARD_EXC_*; 0: none
  mach_port_name_t name = MACH_PORT_NULL;
  std::uint64_t subcode = 0;

  // Darwin kills every task for these; for the others those that asked for it.
  bool always_fatal() const noexcept { return code <= kGUARD_EXC_MSG_FILTERED; }
};

}  // namespace kedge::mach::kernel
