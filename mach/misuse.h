// Reports of misuse that no caller can be told of: a release that the kernel refuses, since
// other code has released the name before, and an object that is destroyed in another space than
// its own.
//
// Builds of the library without NDEBUG write one line to standard error. With NDEBUG nothing is
// reported.
#pragma once

#include <mach/mach.h>

#include <cstdint>

namespace kedge::mach {

// Reports that releasing `name`, which is `what`, has failed with `code`. No effect if the space
// has ended, which has released it.
void report_failed_release(const char* what, mach_port_name_t name, kern_return_t code) noexcept;
// The same, if it has failed.
inline void report_release(const char* what, mach_port_name_t name, kern_return_t code) noexcept {
  if (code != KERN_SUCCESS) [[unlikely]]
    report_failed_release(what, name, code);
}
// Reports that `name`, which is `what` in the space of the incarnation `space`, was not released,
// since that space is not current. No effect if the space has ended, or is the parent's before a
// fork.
void report_other_space(const char* what, mach_port_name_t name, std::uint32_t space) noexcept;

}  // namespace kedge::mach
