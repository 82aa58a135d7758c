// comparison: plays a trace and compares each result with the recorded one.
#pragma once

#include <optional>
#include <string_view>

#include "kedge/mach/kernel/extension.h"
#include "trace.h"

namespace conformance {

// Returns the first operation whose result is not what the kernel of `profile` would give. For
// macOS 11 that is the recorded result. For macOS 15 too, except that an operation with a version
// tag must give what version_table says, and that the comparison ends before an operation whose tag
// says that the state differs after it. Requires that the kernel has the profile. Throws
// bad_script.
std::optional<difference> first_difference(std::string_view trace,
                                           kedge::mach::kernel::kernel_profile profile);

}  // namespace conformance
