// Which port's queue each moving receive right is bound for. A receive right must not get into its
// own queue, nor a ring of ports into each other's: nobody could ever receive them (Darwin:
// ipc_port_check_circularity).
#pragma once

#include "kedge/mach/kernel/core/port.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class transit {
 public:
  // Notes that `moving` is bound for `to`; true, and nothing noted, if that would close a ring.
  bool bind(port& moving, port& to) noexcept {
    lock_.lock();
    for (port* next = &to; next; next = next->destination) {
      if (next == &moving) {
        lock_.unlock();
        return true;
      }
    }
    to.retain();
    moving.destination = &to;
    lock_.unlock();
    return false;
  }
  // The right has arrived, come back or been destroyed.
  void unbind(port& moving) noexcept {
    lock_.lock();
    port* to = moving.destination;
    moving.destination = nullptr;
    lock_.unlock();
    if (to) to->release();
  }

 private:
  base::mutex lock_;
};

}  // namespace kedge::mach::kernel
