// Pages of the calling task: as much as the arrays that mach_port_names and its kind return need to
// be released.
#pragma once

#include <mach/mach_types.h>

#define VM_FLAGS_ANYWHERE 0x0001

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t vm_allocate(mach_port_t task, vm_address_t* address, vm_size_t size, int flags);
kern_return_t vm_deallocate(mach_port_t task, vm_address_t address, vm_size_t size);

#ifdef __cplusplus
}
#endif
