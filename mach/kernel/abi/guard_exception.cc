// Implements the delivery of EXC_GUARD, as mach_port_guard_exception() raises it on Darwin.
#include "kedge/mach/kernel/abi/guard_exception.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {
namespace {

const char* name_of(std::uint32_t code) noexcept {
  switch (code) {
    case kGUARD_EXC_DESTROY:
      return "DESTROY";
    case kGUARD_EXC_MOD_REFS:
      return "MOD_REFS";
    case kGUARD_EXC_INVALID_OPTIONS:
      return "INVALID_OPTIONS";
    case kGUARD_EXC_SET_CONTEXT:
      return "SET_CONTEXT";
    case kGUARD_EXC_UNGUARDED:
      return "UNGUARDED";
    case kGUARD_EXC_INCORRECT_GUARD:
      return "INCORRECT_GUARD";
    case kGUARD_EXC_IMMOVABLE:
      return "IMMOVABLE";
    case kGUARD_EXC_STRICT_REPLY:
      return "STRICT_REPLY";
    case kGUARD_EXC_INVALID_RIGHT:
      return "INVALID_RIGHT";
    case kGUARD_EXC_INVALID_NAME:
      return "INVALID_NAME";
    case kGUARD_EXC_INVALID_VALUE:
      return "INVALID_VALUE";
    case kGUARD_EXC_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case kGUARD_EXC_KERN_FAILURE:
      return "KERN_FAILURE";
    case kGUARD_EXC_SEND_INVALID_REPLY:
      return "SEND_INVALID_REPLY";
    case kGUARD_EXC_SEND_INVALID_VOUCHER:
      return "SEND_INVALID_VOUCHER";
    case kGUARD_EXC_SEND_INVALID_RIGHT:
      return "SEND_INVALID_RIGHT";
    case kGUARD_EXC_RCV_INVALID_NAME:
      return "RCV_INVALID_NAME";
    case kGUARD_EXC_RCV_GUARDED_DESC:
      return "RCV_GUARDED_DESC";
    case kGUARD_EXC_REQUIRE_REPLY_PORT_SEMANTICS:
      return "REQUIRE_REPLY_PORT_SEMANTICS";
    default:
      return "?";
  }
}

}  // namespace

void raise_guard_exception(const guard_violation& violation, const char* call) {
  std::fprintf(stderr,
               "%s: EXC_GUARD: guard %s (code 0x%" PRIx32 ", subcode 0x%" PRIx64
               ") violated at port 0x%x\n",
               call, name_of(violation.code), violation.code, violation.subcode, violation.name);
  if (task_of_thread() == task{}) std::abort();
  terminate_task(task_of_thread());
}

}  // namespace kedge::mach::kernel
