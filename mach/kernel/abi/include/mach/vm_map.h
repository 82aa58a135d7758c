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

// As mach_vm_map and mach_vm_remap.
kern_return_t vm_map(vm_map_t target_task, vm_address_t* address, vm_size_t size, vm_address_t mask,
                     int flags, mem_entry_name_port_t object, vm_offset_t offset, boolean_t copy,
                     vm_prot_t cur_protection, vm_prot_t max_protection, vm_inherit_t inheritance);
kern_return_t vm_remap(vm_map_t target_task, vm_address_t* target_address, vm_size_t size,
                       vm_address_t mask, int flags, vm_map_t src_task, vm_address_t src_address,
                       boolean_t copy, vm_prot_t* cur_protection, vm_prot_t* max_protection,
                       vm_inherit_t inheritance);

// A send right to a port that stands for pages of the task (MAP_MEM_NAMED_CREATE: new ones), or for
// a part of what another such port stands for. Who maps it sees what others write to it; a fork's
// child, too. KERN_INVALID_ARGUMENT, KERN_INVALID_ADDRESS, KERN_PROTECTION_FAILURE,
// KERN_RESOURCE_SHORTAGE.
kern_return_t mach_make_memory_entry_64(vm_map_t target_task, memory_object_size_t* size,
                                        memory_object_offset_t offset, vm_prot_t permission,
                                        mach_port_t* object_handle,
                                        mem_entry_name_port_t parent_entry);

#ifdef __cplusplus
}
#endif
