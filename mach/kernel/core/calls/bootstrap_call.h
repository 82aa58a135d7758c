// The bootstrap_* calls on the name server.
#pragma once

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

inline bool is_bootstrap_call(call_number call) noexcept {
  return call >= call_number::bootstrap_check_in && call <= call_number::bootstrap_status;
}

// `what.target` is the bootstrap port. What is none gets the answer that a client of launchd gets
// who has sent the request there: MACH_SEND_INVALID_DEST, or of another server MIG_BAD_ID.
kern_return_t do_bootstrap_call(ipc_task& caller, const request& what, reply& answer,
                                copyio& memory, deferred_work& after);

}  // namespace kedge::mach::kernel
