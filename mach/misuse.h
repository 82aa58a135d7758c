// Reports of misuse that no caller can be told of: a release that the kernel refuses, since
// somebody else has released the name before, and an object that is destroyed in another space than
// its own.
//
// Builds of the library without NDEBUG write one line to standard error. With NDEBUG nothing is
// reported.
#pragma once

#include <mach/mach.h>

#include <cstdint>

namespace kedge::mach {

#ifdef NDEBUG
inline void report_release(const char*, mach_port_name_t, kern_return_t) noexcept {}
inline void report_other_space(const char*, mach_port_name_t, std::uint32_t) noexcept {}
#else
// Reports that releasing `name`, which is `what`, has failed. No effect if `code` is KERN_SUCCESS,
// or if the space has ended, which has released it.
void report_release(const char* what, mach_port_name_t name, kern_return_t code) noexcept;
// Reports that `name`, which is `what` in the space of the incarnation `space`, was not released,
// since that space is not current. No effect if the space has ended, or is the parent's before a
// fork.
void report_other_space(const char* what, mach_port_name_t name, std::uint32_t space) noexcept;
#endif

}  // namespace kedge::mach
