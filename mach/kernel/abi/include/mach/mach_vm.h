// Pages of a task. Tasks of one process have one address space; a task is named by its self port.
// MACH_SEND_INVALID_DEST, KERN_INVALID_ARGUMENT: the first argument names no task.
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
kern_return_t mach_vm_allocate(vm_map_t target, mach_vm_address_t* address, mach_vm_size_t size,
                               int flags);
kern_return_t mach_vm_deallocate(vm_map_t target, mach_vm_address_t address, mach_vm_size_t size);
// KERN_INVALID_ADDRESS: some page is nobody's. A maximum takes away what is more, once.
kern_return_t mach_vm_protect(vm_map_t target_task, mach_vm_address_t address, mach_vm_size_t size,
                              boolean_t set_maximum, vm_prot_t new_protection);
// A copy at a new address, to be deallocated.
kern_return_t mach_vm_read(vm_map_read_t target_task, mach_vm_address_t address,
                           mach_vm_size_t size, vm_offset_t* data, mach_msg_type_number_t* dataCnt);
kern_return_t mach_vm_read_overwrite(vm_map_read_t target_task, mach_vm_address_t address,
                                     mach_vm_size_t size, mach_vm_address_t data,
                                     mach_vm_size_t* outsize);
kern_return_t mach_vm_write(vm_map_t target_task, mach_vm_address_t address, vm_offset_t data,
                            mach_msg_type_number_t dataCnt);
kern_return_t mach_vm_copy(vm_map_t target_task, mach_vm_address_t source_address,
                           mach_vm_size_t size, mach_vm_address_t dest_address);

// The first region that ends behind *address: VM_REGION_BASIC_INFO_64 only. No object is named.
kern_return_t mach_vm_region(vm_map_read_t target_task, mach_vm_address_t* address,
                             mach_vm_size_t* size, vm_region_flavor_t flavor, vm_region_info_t info,
                             mach_msg_type_number_t* infoCnt, mach_port_t* object_name);

// Maps what a memory entry stands for, or a copy of it; new memory if there is no object.
// KERN_INVALID_RIGHT: the entry does not permit so much.
kern_return_t mach_vm_map(vm_map_t target_task, mach_vm_address_t* address, mach_vm_size_t size,
                          mach_vm_offset_t mask, int flags, mem_entry_name_port_t object,
                          memory_object_offset_t offset, boolean_t copy, vm_prot_t cur_protection,
                          vm_prot_t max_protection, vm_inherit_t inheritance);
// Maps pages of a task once more, or a copy of them.
kern_return_t mach_vm_remap(vm_map_t target_task, mach_vm_address_t* target_address,
                            mach_vm_size_t size, mach_vm_offset_t mask, int flags,
                            vm_map_t src_task, mach_vm_address_t src_address, boolean_t copy,
                            vm_prot_t* cur_protection, vm_prot_t* max_protection,
                            vm_inherit_t inheritance);

#ifdef __cplusplus
}
#endif
