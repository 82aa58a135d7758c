// <mach/mach_port.h>: calls on the names of a task. `task` is mach_task_self(), or a send right to
// the self port of another task, whose names the call then uses. Errors are Darwin's.
#pragma once

#include <mach/mach_types.h>
#include <mach_debug/mach_debug_types.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t mach_port_names(ipc_space_t task, mach_port_name_array_t* names,
                              mach_msg_type_number_t* names_count, mach_port_type_array_t* types,
                              mach_msg_type_number_t* types_count);
kern_return_t mach_port_type(ipc_space_t task, mach_port_name_t name, mach_port_type_t* type);
kern_return_t mach_port_allocate(ipc_space_t task, mach_port_right_t right, mach_port_name_t* name);
// Makes a right under a name of the caller's choice. A dead name gets another name, which is not
// reported, as on Darwin. KERN_NO_SPACE, KERN_INVALID_VALUE, KERN_FAILURE: no name is like this
// one, or its slot is used; KERN_NAME_EXISTS.
kern_return_t mach_port_allocate_name(ipc_space_t task, mach_port_right_t right,
                                      mach_port_name_t name);
kern_return_t mach_port_allocate_qos(ipc_space_t task, mach_port_right_t right,
                                     mach_port_qos_t* qos, mach_port_name_t* name);
// As mach_port_allocate_name if `qos->name` is set. Nothing is preallocated.
kern_return_t mach_port_allocate_full(ipc_space_t task, mach_port_right_t right, mach_port_t proto,
                                      mach_port_qos_t* qos, mach_port_name_t* name);
kern_return_t mach_port_construct(ipc_space_t task, mach_port_options_ptr_t options,
                                  mach_port_context_t context, mach_port_name_t* name);
kern_return_t mach_port_destruct(ipc_space_t task, mach_port_name_t name, mach_port_delta_t srdelta,
                                 mach_port_context_t guard);
kern_return_t mach_port_destroy(ipc_space_t task, mach_port_name_t name);
kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name);
kern_return_t mach_port_get_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_urefs_t* refs);
kern_return_t mach_port_mod_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_delta_t delta);
kern_return_t mach_port_insert_right(ipc_space_t task, mach_port_name_t name, mach_port_t poly,
                                     mach_msg_type_name_t polyPoly);
kern_return_t mach_port_extract_right(ipc_space_t task, mach_port_name_t name,
                                      mach_msg_type_name_t msgt_name, mach_port_t* poly,
                                      mach_msg_type_name_t* polyPoly);
kern_return_t mach_port_move_member(ipc_space_t task, mach_port_name_t member,
                                    mach_port_name_t after);
kern_return_t mach_port_insert_member(ipc_space_t task, mach_port_name_t name,
                                      mach_port_name_t pset);
kern_return_t mach_port_extract_member(ipc_space_t task, mach_port_name_t name,
                                       mach_port_name_t pset);
kern_return_t mach_port_get_set_status(ipc_space_t task, mach_port_name_t name,
                                       mach_port_name_array_t* members,
                                       mach_msg_type_number_t* members_count);
kern_return_t mach_port_request_notification(ipc_space_t task, mach_port_name_t name,
                                             mach_msg_id_t msgid, mach_port_mscount_t sync,
                                             mach_port_t notify, mach_msg_type_name_t notifyPoly,
                                             mach_port_t* previous);
kern_return_t mach_port_get_attributes(ipc_space_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t info,
                                       mach_msg_type_number_t* info_count);
kern_return_t mach_port_set_attributes(ipc_space_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t info,
                                       mach_msg_type_number_t info_count);
// Raises a guard exception unless the port has this strict guard.
kern_return_t mach_port_assert_attributes(ipc_space_t task, mach_port_name_t name,
                                          mach_port_flavor_t flavor, mach_port_info_t info,
                                          mach_msg_type_number_t info_count);
kern_return_t mach_port_set_mscount(ipc_space_t task, mach_port_name_t name,
                                    mach_port_mscount_t mscount);
kern_return_t mach_port_set_seqno(ipc_space_t task, mach_port_name_t name, mach_port_seqno_t seqno);
kern_return_t mach_port_get_context(ipc_space_t task, mach_port_name_t name,
                                    mach_port_context_t* context);
kern_return_t mach_port_set_context(ipc_space_t task, mach_port_name_t name,
                                    mach_port_context_t context);
kern_return_t mach_port_guard(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard,
                              boolean_t strict);
kern_return_t mach_port_guard_with_flags(ipc_space_t task, mach_port_name_t name,
                                         mach_port_context_t guard, uint64_t flags);
kern_return_t mach_port_unguard(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard);
kern_return_t mach_port_swap_guard(ipc_space_t task, mach_port_name_t name,
                                   mach_port_context_t old_guard, mach_port_context_t new_guard);
kern_return_t mach_port_get_srights(ipc_space_t task, mach_port_name_t name,
                                    mach_port_rights_t* srights);
kern_return_t mach_port_peek(ipc_space_t task, mach_port_name_t name,
                             mach_msg_trailer_type_t trailer_type,
                             mach_port_seqno_t* request_seqnop, mach_msg_size_t* msg_sizep,
                             mach_msg_id_t* msg_idp, mach_msg_trailer_info_t trailer_infop,
                             mach_msg_type_number_t* trailer_infopCnt);
kern_return_t mach_port_rename(ipc_space_t task, mach_port_name_t old_name,
                               mach_port_name_t new_name);

// Reports how many dead-name and send-possible requests the port has room for, and how many it has.
kern_return_t mach_port_dnrequest_info(ipc_space_t task, mach_port_name_t name,
                                       unsigned int* dnr_total, unsigned int* dnr_used);
// Report what the kernel serves the port as (IKOT_* of XNU's ipc_kobject.h), 0 for a plain port.
// The address is 0, and the description is empty.
kern_return_t mach_port_kernel_object(ipc_space_read_t task, mach_port_name_t name,
                                      unsigned int* object_type, unsigned int* object_addr);
kern_return_t mach_port_kobject(ipc_space_read_t task, mach_port_name_t name,
                                natural_t* object_type, mach_vm_address_t* object_addr);
kern_return_t mach_port_kobject_description(ipc_space_read_t task, mach_port_name_t name,
                                            natural_t* object_type, mach_vm_address_t* object_addr,
                                            kobject_description_t description);
// Reports all names and free slots. The caller deallocates the table by vm_deallocate. There is no
// tree.
kern_return_t mach_port_space_info(ipc_space_read_t space, ipc_info_space_t* space_info,
                                   ipc_info_name_array_t* table_info,
                                   mach_msg_type_number_t* table_infoCnt,
                                   ipc_info_tree_name_array_t* tree_info,
                                   mach_msg_type_number_t* tree_infoCnt);
kern_return_t mach_port_space_basic_info(ipc_space_inspect_t task,
                                         ipc_info_space_basic_t* basic_info);
// Reports the name of a service of which the task has the receive right. The domain is 0.
// KERN_INVALID_CAPABILITY: the port is not a service of bootstrap's.
kern_return_t mach_port_get_service_port_info(ipc_space_read_t task, mach_port_name_t name,
                                              mach_service_port_info_data_t* sp_info_out);
// Reports the filter policy, which is 0, of a service. KERN_INVALID_CAPABILITY as above.
kern_return_t mach_port_is_connection_for_service(ipc_space_t task,
                                                  mach_port_name_t connection_port,
                                                  mach_port_name_t service_port,
                                                  uint64_t* filter_policy_id);
// KERN_NOT_SUPPORTED, as in every released kernel of Darwin.
kern_return_t mach_port_special_reply_port_reset_link(ipc_space_t task, mach_port_name_t name,
                                                      boolean_t* srp_lost_link);

#ifdef __cplusplus
}
#endif
