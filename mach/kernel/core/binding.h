// What connects callers to a kernel: in the same process, by bytes to another thread, later by
// bytes to another process.
#pragma once

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

class binding {
 public:
  // Does the call and returns when it is done; blocks the calling thread if the call waits. Any
  // thread. Time-outs run against one deadline; a signal handler that ran meanwhile ends a wait
  // with MACH_SEND_INTERRUPTED or MACH_RCV_INTERRUPTED.
  virtual void call(const request& what, reply& answer, copyio& memory) = 0;

 protected:
  binding() = default;
  ~binding() = default;
};

// The binding of programs that choose none: the kernel inside this process. Another one after a
// fork.
binding& default_binding();

}  // namespace kedge::mach::kernel
