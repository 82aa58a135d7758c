// check_space(): whether a loop can wait for the ports of the current space.
#pragma once

#include <stdexcept>

#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/reactor/drive_hook.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

// The kqueue looks names up in the space that it was made in. A wait for a name of another space
// would fail, or never end. Throws std::logic_error if the current space is not that of `r`.
inline void check_space(const reactor& r) {
  if (!kernel::has_many_tasks() || r.made_within() == drive_hook::current()) return;
  throw std::logic_error(
      "kedge::mach: this loop was made in another space than the current one: loop::set_hook() "
      "makes the loop's coroutines run in its space");
}

}  // namespace kedge::mach
