// Playing a trace against its recording.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kedge/mach/kernel/extension.h"

namespace conformance {

struct difference {
  int line = 0;
  std::string operation;
  std::string expected;
  std::string got;
  std::vector<std::string> tags;  // the version table changes what is expected
};

// The first operation whose result is not what the profile's kernel would give: the recorded one,
// for macOS 11. For macOS 15 also, except that an operation with a version tag must give what
// version_table says, and that the comparison ends before one whose tag says that the state differs
// from there on. The kernel must have that profile. Throws bad_script.
std::optional<difference> first_difference(std::string_view trace,
                                           kedge::mach::kernel::kernel_profile profile);

}  // namespace conformance
