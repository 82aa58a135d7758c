// Pages of a task, by addresses as wide as its own.
#pragma once

#include <mach/mach_types.h>
#include <mach/memory_object_types.h>
#include <mach/vm_inherit.h>
#include <mach/vm_page_size.h>
#include <mach/vm_prot.h>
#include <mach/vm_region.h>
#include <mach/vm_statistics.h>

#ifdef __cplusplus
extern "C" {
#endif

// Zeros, at any address (VM_FLAGS_ANYWHERE) or in the pages from *address on; what is there goes
// with VM_FLAGS_OVERWRITE, else KERN_NO_SPACE.
kern_return_t vm_allocate(vm_map_t target, vm_address_t* address, vm_size_t size, int flags);
kern_return_t vm_deallocate(vm_map_t target, vm_address_t address, vm_size_t size);
// KERN_INVALID_ADDRESS: some page is nobody's. A maximum takes away what is more, once.
kern_return_t vm_protect(vm_map_t target_task, vm_address_t address, vm_size_t size,
                         boolean_t set_maximum, vm_prot_t new_protection);
// A copy at a new address, to be deallocated.
kern_return_t vm_read(vm_map_read_t target_task, vm_address_t address, vm_size_t size,
                      vm_offset_t* data, mach_msg_type_number_t* dataCnt);
kern_return_t vm_read_overwrite(vm_map_read_t target_task, vm_address_t address, vm_size_t size,
                                vm_address_t data, vm_size_t* outsize);
kern_return_t vm_write(vm_map_t target_task, vm_address_t address, vm_offset_t data,
                       mach_msg_type_number_t dataCnt);
kern_return_t vm_copy(vm_map_t target_task, vm_address_t source_address, vm_size_t size,
                      vm_address_t dest_address);

#ifdef __cplusplus
}
#endif
