// voucher_call: host_create_mach_voucher, which makes a voucher, a port that messages carry. The
// content of a voucher is opaque to this kernel (Darwin: ipc_voucher.c). One object does one call.
#pragma once

#include <cstddef>
#include <vector>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

class voucher_call {
 public:
  voucher_call(ipc_task& caller, copyio& memory, deferred_work& cleanup) noexcept
      : caller_(caller), memory_(memory), cleanup_(cleanup) {}

  // Throws std::bad_alloc.
  kern_return_t create(const requests::voucher_create& request, replies::voucher_create& reply);

 private:
  // Whether `name` is a send right to a port of this kind.
  bool is_send_right_to(mach_port_name_t name, kernel_object kind) const noexcept;
  kern_return_t check(const std::vector<std::byte>& recipes) const noexcept;

  ipc_task& caller_;
  copyio& memory_;
  deferred_work& cleanup_;
};

}  // namespace kedge::mach::kernel
