// What a task has from its start.
#include <mach/mach.h>
#include <mach/ndr.h>
#include <mach/vm_map.h>

#include <sys/mman.h>

#include "kedge/mach/kernel/abi/bound.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/space.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;

extern "C" {

mach_port_t mach_task_self_ = kedge::mach::kernel::task_self_name;
mach_port_t bootstrap_port = kedge::mach::kernel::bootstrap_name;

NDR_record_t NDR_record = {
    0, 0, 0, NDR_PROTOCOL_2_0, NDR_INT_LITTLE_ENDIAN, NDR_CHAR_ASCII, NDR_FLOAT_IEEE, 0};

mach_port_t mach_host_self(void) {
  call(call_number::self, mach_task_self(), kedge::mach::kernel::host_self_name);
  return kedge::mach::kernel::host_self_name;
}

mach_port_t mach_thread_self(void) {
  call(call_number::self, mach_task_self(), kedge::mach::kernel::thread_self_name);
  return kedge::mach::kernel::thread_self_name;
}

kern_return_t vm_allocate(mach_port_t task, vm_address_t* address, vm_size_t size, int flags) {
  if (task != mach_task_self()) return KERN_INVALID_ARGUMENT;
  if ((flags & VM_FLAGS_ANYWHERE) == 0) return KERN_NOT_SUPPORTED;
  *address = 0;
  if (size == 0) return KERN_SUCCESS;
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return KERN_NO_SPACE;
  *address = reinterpret_cast<vm_address_t>(memory);
  return KERN_SUCCESS;
}

kern_return_t vm_deallocate(mach_port_t task, vm_address_t address, vm_size_t size) {
  if (task != mach_task_self()) return KERN_INVALID_ARGUMENT;
  if (size == 0) return KERN_SUCCESS;
  kedge::mach::kernel::own_memory().deallocate(address, size);
  return KERN_SUCCESS;
}

}  // extern "C"
