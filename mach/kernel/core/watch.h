// Somebody outside who wants to know when a port or a port set has a message: a knote. The core
// tells; what follows (waking a kqueue) is the watcher's affair.
#pragma once

#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

enum class watch_event {
  message,  // the port, or a member of the set, went from empty to non-empty
  gone,     // the receive right or the set was destroyed or moved away; the last event
};

class watch {
 public:
  // Called with the object's lock held, on whatever thread caused it: must not call the kernel.
  virtual void changed(watch_event event) noexcept = 0;

  base::list_link<watch> link;

 protected:
  watch() = default;
  ~watch() = default;
};

}  // namespace kedge::mach::kernel
