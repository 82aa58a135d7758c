// create_voucher: makes vouchers, which are ports that messages carry. Their content is opaque to
// this kernel (Darwin: ipc_voucher.c).
#pragma once

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

// host_create_mach_voucher. Throws std::bad_alloc.
kern_return_t create_voucher(ipc_task& caller, const requests::voucher_create& request,
                             replies::voucher_create& reply, copyio& memory,
                             deferred_work& cleanup);

}  // namespace kedge::mach::kernel
