// transit: records the destination of each receive right that is in a message. A receive right must
// not be sent to its own port, and receive rights must not be sent to each other's ports in a ring:
// no task could ever receive them (Darwin: ipc_port_check_circularity).
//
// Threads: any. Its lock is a leaf.
#pragma once

#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/port.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class transit {
 public:
  // Records that `moving` is bound for `to`. Returns false, and records nothing, if that would
  // close a ring.
  bool bind(port& moving, port& to) noexcept {
    const std::lock_guard hold(lock_);
    for (port* next = &to; next; next = next->destination) {
      if (next == &moving) return false;
    }
    to.retain();
    moving.destination = &to;
    return true;
  }
  // The right has arrived, was returned to the sender, or was destroyed.
  void unbind(port& moving) noexcept {
    port* to = nullptr;
    {
      const std::lock_guard hold(lock_);
      to = std::exchange(moving.destination, nullptr);
    }
    if (to) to->release();
  }

 private:
  base::mutex lock_;
};

}  // namespace kedge::mach::kernel
