// Implements mach_host_self(), mach_thread_self() and pthread_mach_thread_np(), and defines the
// rights that a task has from its start.
#include <mach/mach.h>
#include <mach/ndr.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/ipc_space.h"

using kedge::mach::kernel::call;
namespace requests = kedge::mach::kernel::requests;

extern "C" {

mach_port_t mach_task_self_ = kedge::mach::kernel::task_self_name;
mach_port_t bootstrap_port = kedge::mach::kernel::bootstrap_name;

NDR_record_t NDR_record = {
    0, 0, 0, NDR_PROTOCOL_2_0, NDR_INT_LITTLE_ENDIAN, NDR_CHAR_ASCII, NDR_FLOAT_IEEE, 0};

mach_port_t mach_host_self(void) {
  call(requests::self{kedge::mach::kernel::host_self_name});
  return kedge::mach::kernel::host_self_name;
}

mach_port_t pthread_mach_thread_np(pthread_t) {
  return kedge::mach::kernel::thread_self_name;
}

mach_port_t mach_thread_self(void) {
  call(requests::self{kedge::mach::kernel::thread_self_name});
  return kedge::mach::kernel::thread_self_name;
}

}  // extern "C"
