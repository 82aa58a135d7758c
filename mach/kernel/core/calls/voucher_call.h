// Vouchers: ports that messages carry along, and whose content nobody here looks at (Darwin:
// ipc_voucher.c).
#pragma once

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

// host_create_mach_voucher. Throws std::bad_alloc.
kern_return_t create_voucher(ipc_task& caller, const request& what, reply& answer, copyio& memory,
                             deferred_work& after);

}  // namespace kedge::mach::kernel
