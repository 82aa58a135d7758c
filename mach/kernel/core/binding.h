// binding: what connects callers to a kernel: in the same process, by bytes to another thread,
// later by bytes to another process.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/attachment.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

class binding {
 public:
  // Does the call and returns when it is done; blocks the calling thread if the call waits. Any
  // thread. A time-out runs against one deadline. A signal handler that runs while the call waits
  // ends the wait with MACH_SEND_INTERRUPTED or MACH_RCV_INTERRUPTED.
  //
  // `caller` is the id of the task that makes the call, or 0 for the process's own. It is not a
  // part of the request: a binding to another process knows which process is at the other end, and
  // accepts only ids of tasks that this process has made.
  // `file` is null unless the call transfers a file. It holds the request's; the kernel empties it
  // if it takes the file, and puts the reply's there.
  virtual void call(std::uint64_t caller, const any_request& request, any_reply& reply,
                    copyio& memory, attachment* file) = 0;

 protected:
  binding() = default;
  ~binding() = default;
};

// Returns the binding to the kernel inside this process, which is used unless the program chooses
// another. A fork's child has its own.
binding& default_binding();

// The clock of time-outs, which the default binding reads whichever binding is in use: for the
// functions of <mach/mach_time.h>. Both leave the kernel alone.
// Returns false, and leaves `now` alone, unless use_clock() (extension.h) has replaced the clock.
bool read_replaced_clock(std::uint64_t& now) noexcept;
// Waits until the clock in use reaches `deadline`, in nanoseconds. Returns false if a signal
// handler has ended the wait.
bool wait_until(std::uint64_t deadline) noexcept;

}  // namespace kedge::mach::kernel
