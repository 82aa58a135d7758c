// An always-fatal guard exception (EXC_GUARD of type GUARD_TYPE_MACH_PORT) that a call has raised.
// What becomes of it is for the caller's side to decide; the call itself has failed.
#pragma once

#include <mach/port.h>

#include <cstdint>

namespace kedge::mach::kernel {

struct guard_violation {
  std::uint32_t code = 0;  // kGUARD_EXC_*; 0: none
  mach_port_name_t name = MACH_PORT_NULL;
  std::uint64_t subcode = 0;
};

}  // namespace kedge::mach::kernel
