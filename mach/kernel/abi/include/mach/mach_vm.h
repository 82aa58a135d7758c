// <mach/mach_vm.h>: calls on the pages of a task, by 64-bit addresses. The first argument is the
// task's self port; MACH_SEND_INVALID_DEST or KERN_INVALID_ARGUMENT if it is not one. All tasks of
// a process share one address space.
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
kern_return_t mach_vm_allocate(vm_map_t target, mach_vm_address_t* address, mach_vm_size_t size,
                               int flags);
kern_return_t mach_vm_deallocate(vm_map_t target, mach_vm_address_t address, mach_vm_size_t size);
// KERN_INVALID_ADDRESS: some page is not mapped. With set_maximum, permissions beyond
// new_protection are removed once; a later call may grant them again.
kern_return_t mach_vm_protect(vm_map_t target_task, mach_vm_address_t address, mach_vm_size_t size,
                              boolean_t set_maximum, vm_prot_t new_protection);
// Sets what a fork's child gets of the range. KERN_NOT_SUPPORTED: VM_INHERIT_COPY for pages that
// other mappings or a child share, or VM_INHERIT_SHARE for a shared mapping that the program has
// made. While VM_INHERIT_SHARE moves the pages into a file, no other thread may write to them.
kern_return_t mach_vm_inherit(vm_map_t target_task, mach_vm_address_t address, mach_vm_size_t size,
                              vm_inherit_t new_inheritance);
// Copies to new pages, which the caller deallocates. A copy of at most 16 KiB (32 KiB on arm64)
// begins at a page, a larger one has the offset in its page that the source has.
kern_return_t mach_vm_read(vm_map_read_t target_task, mach_vm_address_t address,
                           mach_vm_size_t size, vm_offset_t* data, mach_msg_type_number_t* dataCnt);
// Copies each of `count` ranges, and puts the copies in their places; {0, 0} if one cannot be read.
// Returns the result of the last copy. After an error, the list is unchanged and nothing is copied.
kern_return_t mach_vm_read_list(vm_map_read_t target_task, mach_vm_read_entry_t data_list,
                                natural_t count);
kern_return_t mach_vm_read_overwrite(vm_map_read_t target_task, mach_vm_address_t address,
                                     mach_vm_size_t size, mach_vm_address_t data,
                                     mach_vm_size_t* outsize);
kern_return_t mach_vm_write(vm_map_t target_task, mach_vm_address_t address, vm_offset_t data,
                            mach_msg_type_number_t dataCnt);
kern_return_t mach_vm_copy(vm_map_t target_task, mach_vm_address_t source_address,
                           mach_vm_size_t size, mach_vm_address_t dest_address);

// Describes the first region that ends behind *address. *object_name is set to MACH_PORT_NULL.
// KERN_INVALID_ADDRESS: no such region. KERN_INVALID_ARGUMENT: an unknown flavor, or no room for
// it.
kern_return_t mach_vm_region(vm_map_read_t target_task, mach_vm_address_t* address,
                             mach_vm_size_t* size, vm_region_flavor_t flavor, vm_region_info_t info,
                             mach_msg_type_number_t* infoCnt, mach_port_t* object_name);

// The same, and follows submaps, of which this kernel has none: *nesting_depth becomes 0. `info` is
// a vm_region_submap_info_64 or, if *infoCnt is smaller, a vm_region_submap_short_info_64.
kern_return_t mach_vm_region_recurse(vm_map_read_t target_task, mach_vm_address_t* address,
                                     mach_vm_size_t* size, natural_t* nesting_depth,
                                     vm_region_recurse_info_t info,
                                     mach_msg_type_number_t* infoCnt);

// Maps the pages of the memory entry `object`, or a copy of them. Without an object, maps new
// pages. KERN_INVALID_RIGHT: the entry does not permit the protection.
kern_return_t mach_vm_map(vm_map_t target_task, mach_vm_address_t* address, mach_vm_size_t size,
                          mach_vm_offset_t mask, int flags, mem_entry_name_port_t object,
                          memory_object_offset_t offset, boolean_t copy, vm_prot_t cur_protection,
                          vm_prot_t max_protection, vm_inherit_t inheritance);
// Maps pages of src_task at another address too, or a copy of them, each with its protection.
// *cur_protection is what all of them permit. KERN_NOT_SUPPORTED, and other threads: as of
// mach_make_memory_entry_64, unless `copy`.
kern_return_t mach_vm_remap(vm_map_t target_task, mach_vm_address_t* target_address,
                            mach_vm_size_t size, mach_vm_offset_t mask, int flags,
                            vm_map_t src_task, mach_vm_address_t src_address, boolean_t copy,
                            vm_prot_t* cur_protection, vm_prot_t* max_protection,
                            vm_inherit_t inheritance);

#ifdef __cplusplus
}
#endif
