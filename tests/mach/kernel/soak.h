// inventory(): the whole state of the kernel, which a random test compares. Its seeds are those of
// tests/seeds.h.
#pragma once

#include <string>

#include "kedge/mach/kernel/snapshot.h"
#include "tests/seeds.h"

namespace test {

// Returns the whole state of the kernel as text, except the make-send counts: those of the kernel's
// own ports rise with every task.
inline std::string inventory() {
  kedge::mach::kernel::snapshot all = kedge::mach::kernel::take_snapshot();
  for (auto& each : all.ports) each.make_send_count = 0;
  return to_string(all);
}

}  // namespace test
