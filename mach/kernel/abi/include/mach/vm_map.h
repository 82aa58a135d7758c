// <mach/vm_map.h>: calls on the pages of a task, by addresses as wide as the caller's.
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

// Allocates zero-filled pages, at any address (VM_FLAGS_ANYWHERE) or from the page of *address on.
// KERN_NO_SPACE if pages there are in use, unless VM_FLAGS_OVERWRITE replaces them.
kern_return_t vm_allocate(vm_map_t target, vm_address_t* address, vm_size_t size, int flags);
kern_return_t vm_deallocate(vm_map_t target, vm_address_t address, vm_size_t size);
// KERN_INVALID_ADDRESS: some page is not mapped. With set_maximum, permissions beyond
// new_protection are removed once; a later call may grant them again.
kern_return_t vm_protect(vm_map_t target_task, vm_address_t address, vm_size_t size,
                         boolean_t set_maximum, vm_prot_t new_protection);
// Sets what a fork's child gets of the range. KERN_NOT_SUPPORTED: VM_INHERIT_COPY for pages that
// other mappings share, or VM_INHERIT_SHARE for a private mapping of a file.
kern_return_t vm_inherit(vm_map_t target_task, vm_address_t address, vm_size_t size,
                         vm_inherit_t new_inheritance);
// Copies to new pages, which the caller deallocates.
kern_return_t vm_read(vm_map_read_t target_task, vm_address_t address, vm_size_t size,
                      vm_offset_t* data, mach_msg_type_number_t* dataCnt);
// Copies each of `count` ranges, and puts the copies in their places; {0, 0} if one cannot be read.
// Returns the result of the last copy.
kern_return_t vm_read_list(vm_map_read_t target_task, vm_read_entry_t data_list, natural_t count);
kern_return_t vm_read_overwrite(vm_map_read_t target_task, vm_address_t address, vm_size_t size,
                                vm_address_t data, vm_size_t* outsize);
kern_return_t vm_write(vm_map_t target_task, vm_address_t address, vm_offset_t data,
                       mach_msg_type_number_t dataCnt);
kern_return_t vm_copy(vm_map_t target_task, vm_address_t source_address, vm_size_t size,
                      vm_address_t dest_address);

// The same as mach_vm_region and mach_vm_region_recurse.
kern_return_t vm_region_64(vm_map_read_t target_task, vm_address_t* address, vm_size_t* size,
                           vm_region_flavor_t flavor, vm_region_info_t info,
                           mach_msg_type_number_t* infoCnt, mach_port_t* object_name);
kern_return_t vm_region_recurse_64(vm_map_read_t target_task, vm_address_t* address,
                                   vm_size_t* size, natural_t* nesting_depth,
                                   vm_region_recurse_info_t info, mach_msg_type_number_t* infoCnt);

// The same as mach_vm_map and mach_vm_remap.
kern_return_t vm_map(vm_map_t target_task, vm_address_t* address, vm_size_t size, vm_address_t mask,
                     int flags, mem_entry_name_port_t object, vm_offset_t offset, boolean_t copy,
                     vm_prot_t cur_protection, vm_prot_t max_protection, vm_inherit_t inheritance);
kern_return_t vm_remap(vm_map_t target_task, vm_address_t* target_address, vm_size_t size,
                       vm_address_t mask, int flags, vm_map_t src_task, vm_address_t src_address,
                       boolean_t copy, vm_prot_t* cur_protection, vm_prot_t* max_protection,
                       vm_inherit_t inheritance);

// Makes a memory entry and gives a send right to its port. The entry stands for pages of the task,
// for new pages (MAP_MEM_NAMED_CREATE), or for a part of parent_entry. All mappings of an entry
// show what is written to any of them, also in the child of a fork that happens while there are
// several, or while there is the entry. *size becomes the entry's size,
// which is whole pages unless MAP_MEM_USE_DATA_ADDR is set. KERN_INVALID_ARGUMENT: a size of 0,
// except of new pages, for which it gives no entry; or parent_entry is a copy or too small.
// KERN_INVALID_VALUE: an unknown flag. KERN_INVALID_ADDRESS, KERN_PROTECTION_FAILURE,
// KERN_RESOURCE_SHORTAGE. KERN_NOT_SUPPORTED: a shared mapping that the program has made, which
// Linux cannot map again. The first entry of a range moves its pages into a file: no other thread
// may write to these pages during the call (with memory of the heap also not to its neighbours), or
// the writes may be lost.
kern_return_t mach_make_memory_entry_64(vm_map_t target_task, memory_object_size_t* size,
                                        memory_object_offset_t offset, vm_prot_t permission,
                                        mach_port_t* object_handle,
                                        mem_entry_name_port_t parent_entry);
// The same, with the size and the offset of the 32-bit interface.
kern_return_t mach_make_memory_entry(vm_map_t target_task, vm_size_t* size, vm_offset_t offset,
                                     vm_prot_t permission, mem_entry_name_port_t* object_handle,
                                     mem_entry_name_port_t parent_entry);

#ifdef __cplusplus
}
#endif
