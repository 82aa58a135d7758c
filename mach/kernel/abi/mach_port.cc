// Implements mach_port_*() and mach_reply_port(), each with one request and one reply.
#include <mach/mach.h>
#include <mach/vm_map.h>

#include <cstdint>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::user_buffer_of;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

namespace {

// Gets arrays whose length only the kernel knows. Allocates room for `room` elements, calls
// fetch(arrays, room), and tries again with more room if that was not enough. The caller owns the
// pages in `out`.
template <typename Element = mach_port_name_t, typename Fetch>
kern_return_t fetch_arrays(std::size_t arrays, Element** out, mach_msg_type_number_t* count,
                           Fetch&& fetch) {
  std::uint64_t room = 64;
  for (;;) {
    vm_address_t memory[2]{};
    const vm_size_t bytes = room * sizeof(Element);
    for (std::size_t each = 0; each < arrays; ++each) {
      if (vm_allocate(mach_task_self(), &memory[each], bytes, 1) != KERN_SUCCESS) {
        if (each > 0) vm_deallocate(mach_task_self(), memory[0], bytes);
        return KERN_RESOURCE_SHORTAGE;
      }
    }
    const auto answer = fetch(memory, room);
    if (answer.result == KERN_SUCCESS && answer.fields.count <= room) {
      *count = answer.fields.count;
      for (std::size_t each = 0; each < arrays; ++each) {
        out[each] = *count ? reinterpret_cast<Element*>(memory[each]) : nullptr;
        // The caller deallocates `count` elements. Releases the pages behind them.
        const vm_size_t used = mach_vm_round_page(*count * sizeof(Element));
        const vm_size_t had = mach_vm_round_page(bytes);
        if (used < had) vm_deallocate(mach_task_self(), memory[each] + used, had - used);
      }
      return KERN_SUCCESS;
    }
    for (std::size_t each = 0; each < arrays; ++each) {
      vm_deallocate(mach_task_self(), memory[each], bytes);
    }
    if (answer.result != KERN_SUCCESS) return answer.result;
    room = std::uint64_t{answer.fields.count} + 64;
  }
}

// The bits of a name that are its generation.
constexpr natural_t generation_mask = 0xff;

kern_return_t allocate_full(ipc_space_t task, mach_port_right_t right, mach_port_t proto,
                            mach_port_qos_t* qos, mach_port_name_t* name,
                            std::uint32_t more_flags) {
  using asked = requests::allocate_full;
  const kern_return_t result =
      store(call(asked{.right = right,
                       .proto = proto,
                       .flags = (qos->name ? asked::named : 0u) |
                                (qos->prealloc ? asked::preallocate : 0u) | more_flags,
                       .length = qos->len,
                       .name = *name},
                 task),
            &replies::allocate_full::name, name);
  if (result == KERN_SUCCESS) qos->prealloc = 0;
  return result;
}

}  // namespace

extern "C" {

kern_return_t mach_port_names(ipc_space_t task, mach_port_name_array_t* names,
                              mach_msg_type_number_t* names_count, mach_port_type_array_t* types,
                              mach_msg_type_number_t* types_count) {
  mach_port_name_t* arrays[2]{};
  const kern_return_t result =
      fetch_arrays(2, arrays, names_count, [task](const vm_address_t* memory, std::uint64_t room) {
        return call(requests::names{.to_names = memory[0], .to_types = memory[1], .room = room},
                    task);
      });
  if (result == KERN_SUCCESS) {
    *names = arrays[0];
    *types = arrays[1];
    *types_count = *names_count;
  }
  return result;
}

kern_return_t mach_port_get_set_status(ipc_space_t task, mach_port_name_t name,
                                       mach_port_name_array_t* members,
                                       mach_msg_type_number_t* members_count) {
  mach_port_name_t* array = nullptr;
  const kern_return_t result = fetch_arrays(
      1, &array, members_count, [task, name](const vm_address_t* memory, std::uint64_t room) {
        return call(requests::get_set_status{.members = {memory[0], room}, .name = name}, task);
      });
  if (result == KERN_SUCCESS) *members = array;
  return result;
}

kern_return_t mach_port_type(ipc_space_t task, mach_port_name_t name, mach_port_type_t* type) {
  return store(call(requests::type{name}, task), &replies::type::value, type);
}

kern_return_t mach_port_allocate(ipc_space_t task, mach_port_right_t right,
                                 mach_port_name_t* name) {
  return store(call(requests::allocate{right}, task), &replies::allocate::name, name);
}

kern_return_t mach_port_allocate_name(ipc_space_t task, mach_port_right_t right,
                                      mach_port_name_t name) {
  mach_port_qos_t qos{};
  qos.name = 1;
  return allocate_full(task, right, MACH_PORT_NULL, &qos, &name, 0);
}

kern_return_t mach_port_allocate_qos(ipc_space_t task, mach_port_right_t right,
                                     mach_port_qos_t* qos, mach_port_name_t* name) {
  return allocate_full(task, right, MACH_PORT_NULL, qos, name,
                       requests::allocate_full::must_not_name);
}

kern_return_t mach_port_allocate_full(ipc_space_t task, mach_port_right_t right, mach_port_t proto,
                                      mach_port_qos_t* qos, mach_port_name_t* name) {
  return allocate_full(task, right, proto, qos, name, 0);
}

kern_return_t mach_port_construct(ipc_space_t task, mach_port_options_ptr_t options,
                                  mach_port_context_t context, mach_port_name_t* name) {
  if (!options) return KERN_INVALID_ARGUMENT;
  return store(call(requests::construct{.flags = options->flags,
                                        .queue_limit = options->mpl.mpl_qlimit,
                                        .context = context,
                                        .service = options->service_port_name},
                    task),
               &replies::construct::name, name);
}

kern_return_t mach_port_destruct(ipc_space_t task, mach_port_name_t name, mach_port_delta_t srdelta,
                                 mach_port_context_t guard) {
  return call(requests::destruct{.name = name, .send_delta = srdelta, .guard = guard}, task).result;
}

kern_return_t mach_port_destroy(ipc_space_t task, mach_port_name_t name) {
  return call(requests::destroy{name}, task).result;
}

kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name) {
  return call(requests::deallocate{name}, task).result;
}

kern_return_t mach_port_get_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_urefs_t* refs) {
  return store(call(requests::get_refs{.name = name, .right = right}, task),
               &replies::get_refs::references, refs);
}

kern_return_t mach_port_mod_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_delta_t delta) {
  return call(requests::mod_refs{.name = name, .right = right, .delta = delta}, task).result;
}

kern_return_t mach_port_insert_right(ipc_space_t task, mach_port_name_t name, mach_port_t poly,
                                     mach_msg_type_name_t polyPoly) {
  return call(requests::insert_right{.name = name, .right = poly, .disposition = polyPoly}, task)
      .result;
}

kern_return_t mach_port_extract_right(ipc_space_t task, mach_port_name_t name,
                                      mach_msg_type_name_t msgt_name, mach_port_t* poly,
                                      mach_msg_type_name_t* polyPoly) {
  const auto answer = call(requests::extract_right{.name = name, .disposition = msgt_name}, task);
  store(answer, &replies::extract_right::disposition, polyPoly);
  return store(answer, &replies::extract_right::name, poly);
}

kern_return_t mach_port_move_member(ipc_space_t task, mach_port_name_t member,
                                    mach_port_name_t after) {
  return call(requests::move_member{.member = member, .set = after}, task).result;
}

kern_return_t mach_port_insert_member(ipc_space_t task, mach_port_name_t name,
                                      mach_port_name_t pset) {
  return call(requests::insert_member{.member = name, .set = pset}, task).result;
}

kern_return_t mach_port_extract_member(ipc_space_t task, mach_port_name_t name,
                                       mach_port_name_t pset) {
  return call(requests::extract_member{.member = name, .set = pset}, task).result;
}

kern_return_t mach_port_request_notification(ipc_space_t task, mach_port_name_t name,
                                             mach_msg_id_t msgid, mach_port_mscount_t sync,
                                             mach_port_t notify, mach_msg_type_name_t notifyPoly,
                                             mach_port_t* previous) {
  return store(
      call(
          requests::request_notification{
              .name = name, .id = msgid, .sync = sync, .notify = notify, .disposition = notifyPoly},
          task),
      &replies::request_notification::previous, previous);
}

kern_return_t mach_port_get_attributes(ipc_space_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t info,
                                       mach_msg_type_number_t* info_count) {
  return store(call(
                   requests::get_attributes{
                       .name = name, .flavor = flavor, .info = user_buffer_of(info, *info_count)},
                   task),
               &replies::get_attributes::count, info_count);
}

kern_return_t mach_port_set_attributes(ipc_space_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t info,
                                       mach_msg_type_number_t info_count) {
  return call(
             requests::set_attributes{
                 .name = name, .flavor = flavor, .info = user_buffer_of(info, info_count)},
             task)
      .result;
}

kern_return_t mach_port_assert_attributes(ipc_space_t task, mach_port_name_t name,
                                          mach_port_flavor_t flavor, mach_port_info_t info,
                                          mach_msg_type_number_t info_count) {
  return call(
             requests::assert_attributes{
                 .name = name, .flavor = flavor, .info = user_buffer_of(info, info_count)},
             task)
      .result;
}

kern_return_t mach_port_set_mscount(ipc_space_t task, mach_port_name_t name,
                                    mach_port_mscount_t mscount) {
  return call(requests::set_mscount{.name = name, .count = mscount}, task).result;
}

kern_return_t mach_port_set_seqno(ipc_space_t task, mach_port_name_t name,
                                  mach_port_seqno_t seqno) {
  return call(requests::set_seqno{.name = name, .sequence_number = seqno}, task).result;
}

kern_return_t mach_port_get_context(ipc_space_t task, mach_port_name_t name,
                                    mach_port_context_t* context) {
  return store(call(requests::get_context{name}, task), &replies::get_context::context, context);
}

kern_return_t mach_port_set_context(ipc_space_t task, mach_port_name_t name,
                                    mach_port_context_t context) {
  return call(requests::set_context{.context = context, .name = name}, task).result;
}

kern_return_t mach_port_guard(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard,
                              boolean_t strict) {
  return mach_port_guard_with_flags(task, name, guard, strict ? MPG_STRICT : MPG_FLAGS_NONE);
}

kern_return_t mach_port_guard_with_flags(ipc_space_t task, mach_port_name_t name,
                                         mach_port_context_t guard, uint64_t flags) {
  return call(requests::guard{.context = guard, .flags = flags, .name = name}, task).result;
}

kern_return_t mach_port_unguard(ipc_space_t task, mach_port_name_t name,
                                mach_port_context_t guard) {
  return call(requests::unguard{.context = guard, .name = name}, task).result;
}

kern_return_t mach_port_swap_guard(ipc_space_t task, mach_port_name_t name,
                                   mach_port_context_t old_guard, mach_port_context_t new_guard) {
  return call(
             requests::swap_guard{.old_context = old_guard, .new_context = new_guard, .name = name},
             task)
      .result;
}

kern_return_t mach_port_get_srights(ipc_space_t task, mach_port_name_t name,
                                    mach_port_rights_t* srights) {
  return store(call(requests::get_srights{name}, task), &replies::get_srights::count, srights);
}

kern_return_t mach_port_peek(ipc_space_t task, mach_port_name_t name,
                             mach_msg_trailer_type_t trailer_type,
                             mach_port_seqno_t* request_seqnop, mach_msg_size_t* msg_sizep,
                             mach_msg_id_t* msg_idp, mach_msg_trailer_info_t trailer_infop,
                             mach_msg_type_number_t* trailer_infopCnt) {
  const auto answer =
      call(requests::peek{.trailer = user_buffer_of(trailer_infop, *trailer_infopCnt),
                          .name = name,
                          .elements = trailer_type,
                          .sequence_number = *request_seqnop},
           task);
  store(answer, &replies::peek::sequence_number, request_seqnop);
  store(answer, &replies::peek::size, msg_sizep);
  store(answer, &replies::peek::id, msg_idp);
  return store(answer, &replies::peek::trailer_size, trailer_infopCnt);
}

kern_return_t mach_port_rename(ipc_space_t task, mach_port_name_t old_name,
                               mach_port_name_t new_name) {
  return call(requests::rename{.old_name = old_name, .new_name = new_name}, task).result;
}

kern_return_t mach_port_dnrequest_info(ipc_space_t task, mach_port_name_t name,
                                       unsigned int* dnr_total, unsigned int* dnr_used) {
  const auto answer = call(requests::dnrequest_info{name}, task);
  store(answer, &replies::dnrequest_info::total, dnr_total);
  return store(answer, &replies::dnrequest_info::used, dnr_used);
}

kern_return_t mach_port_kernel_object(ipc_space_read_t task, mach_port_name_t name,
                                      unsigned int* object_type, unsigned int* object_addr) {
  mach_vm_address_t address = 0;
  const kern_return_t result = mach_port_kobject(task, name, object_type, &address);
  if (result == KERN_SUCCESS && object_addr) *object_addr = static_cast<unsigned int>(address);
  return result;
}

kern_return_t mach_port_kobject(ipc_space_read_t task, mach_port_name_t name,
                                natural_t* object_type, mach_vm_address_t* object_addr) {
  const kern_return_t result =
      store(call(requests::kobject{name}, task), &replies::kobject::type, object_type);
  if (result == KERN_SUCCESS) *object_addr = 0;
  // Darwin's wrapper in the kernel has its own error for a port that is no task.
  return result == KERN_INVALID_TASK ? KERN_INVALID_ARGUMENT : result;
}

kern_return_t mach_port_kobject_description(ipc_space_read_t task, mach_port_name_t name,
                                            natural_t* object_type, mach_vm_address_t* object_addr,
                                            kobject_description_t description) {
  const kern_return_t result = mach_port_kobject(task, name, object_type, object_addr);
  if (result == KERN_SUCCESS) description[0] = '\0';
  return result;
}

kern_return_t mach_port_space_info(ipc_space_read_t space, ipc_info_space_t* space_info,
                                   ipc_info_name_array_t* table_info,
                                   mach_msg_type_number_t* table_infoCnt,
                                   ipc_info_tree_name_array_t* tree_info,
                                   mach_msg_type_number_t* tree_infoCnt) {
  const kern_return_t result = fetch_arrays(
      1, table_info, table_infoCnt, [space](const vm_address_t* memory, std::uint64_t room) {
        return call(requests::space_info{.table = {memory[0], room}}, space);
      });
  if (result != KERN_SUCCESS) return result;
  *space_info = {};
  space_info->iis_genno_mask = generation_mask;
  space_info->iis_table_size = *table_infoCnt;
  *tree_info = nullptr;
  *tree_infoCnt = 0;
  return KERN_SUCCESS;
}

kern_return_t mach_port_space_basic_info(ipc_space_inspect_t task,
                                         ipc_info_space_basic_t* basic_info) {
  const auto answer = call(requests::space_basic_info{}, task);
  if (answer.result != KERN_SUCCESS) return answer.result;
  *basic_info = {};
  basic_info->iisb_genno_mask = generation_mask;
  basic_info->iisb_table_size = answer.fields.size;
  basic_info->iisb_table_inuse = answer.fields.in_use;
  return KERN_SUCCESS;
}

kern_return_t mach_port_get_service_port_info(ipc_space_read_t task, mach_port_name_t name,
                                              mach_service_port_info_data_t* sp_info_out) {
  return call(requests::service_port_info{.info = reinterpret_cast<std::uintptr_t>(sp_info_out),
                                          .name = name},
              task)
      .result;
}

kern_return_t mach_port_is_connection_for_service(ipc_space_t task,
                                                  mach_port_name_t connection_port,
                                                  mach_port_name_t service_port,
                                                  uint64_t* filter_policy_id) {
  return store(
      call(requests::connection_policy{.connection = connection_port, .service = service_port},
           task),
      &replies::connection_policy::id, filter_policy_id);
}

// The target is checked first.
kern_return_t mach_port_special_reply_port_reset_link(ipc_space_t task, mach_port_name_t,
                                                      boolean_t*) {
  const kern_return_t failed = call(requests::check_task{}, task).result;
  return failed == KERN_SUCCESS ? KERN_NOT_SUPPORTED : failed;
}

// Makes a receive right. Returns MACH_PORT_NULL if the kernel refuses.
mach_port_name_t mach_reply_port(void) {
  mach_port_name_t name = MACH_PORT_NULL;
  store(call(requests::reply_port{}), &replies::reply_port::name, &name);
  return name;
}

}  // extern "C"
