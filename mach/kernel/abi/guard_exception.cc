#include "kedge/mach/kernel/abi/guard_exception.h"

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace kedge::mach::kernel {
namespace {

std::atomic<guard_handler> chosen{nullptr};

const char* name_of(std::uint32_t code) noexcept {
  switch (code) {
    case kGUARD_EXC_DESTROY:
      return "DESTROY";
    case kGUARD_EXC_MOD_REFS:
      return "MOD_REFS";
    case kGUARD_EXC_SET_CONTEXT:
      return "SET_CONTEXT";
    case kGUARD_EXC_UNGUARDED:
      return "UNGUARDED";
    case kGUARD_EXC_INCORRECT_GUARD:
      return "INCORRECT_GUARD";
    case kGUARD_EXC_IMMOVABLE:
      return "IMMOVABLE";
    default:
      return "?";
  }
}

}  // namespace

guard_handler set_guard_handler(guard_handler handler) noexcept {
  return chosen.exchange(handler);
}

void raise_guard_exception(const guard_violation& violation, const char* call) {
  if (guard_handler told = chosen.load()) return told(violation, call);
  std::fprintf(stderr,
               "%s: EXC_GUARD: guard %s (code 0x%" PRIx32 ", subcode 0x%" PRIx64
               ") violated at port 0x%x\n",
               call, name_of(violation.code), violation.code, violation.subcode, violation.name);
  std::abort();
}

}  // namespace kedge::mach::kernel
