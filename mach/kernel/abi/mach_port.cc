// Implements mach_port_*() and mach_reply_port(), each with one request and one reply.
#include <mach/mach.h>
#include <mach/vm_map.h>

#include <cstdint>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::reply;

namespace {

std::uint64_t address(const void* of) noexcept {
  return reinterpret_cast<std::uintptr_t>(of);
}

// Signed arguments are sign-extended.
std::uint64_t word(std::int64_t value) noexcept {
  return static_cast<std::uint64_t>(value);
}

template <typename T>
kern_return_t give(const reply& answer, T* result) noexcept {
  if (answer.result == KERN_SUCCESS) *result = static_cast<T>(answer.words[0]);
  return answer.result;
}

// Gets arrays of names whose length only the kernel knows. Allocates room for `room` names, calls
// fetch(arrays, room), and tries again with more room if that was not enough. The caller owns the
// pages in `out`.
template <typename Fetch>
kern_return_t fetch_arrays(std::size_t arrays, mach_port_name_t** out,
                           mach_msg_type_number_t* count, Fetch&& fetch) {
  std::uint64_t room = 64;
  for (;;) {
    vm_address_t memory[2]{};
    const vm_size_t bytes = room * sizeof(mach_port_name_t);
    for (std::size_t each = 0; each < arrays; ++each) {
      if (vm_allocate(mach_task_self(), &memory[each], bytes, 1) != KERN_SUCCESS) {
        if (each > 0) vm_deallocate(mach_task_self(), memory[0], bytes);
        return KERN_RESOURCE_SHORTAGE;
      }
    }
    const reply answer = fetch(memory, room);
    if (answer.result == KERN_SUCCESS && answer.words[0] <= room) {
      *count = static_cast<mach_msg_type_number_t>(answer.words[0]);
      for (std::size_t each = 0; each < arrays; ++each) {
        out[each] = *count ? reinterpret_cast<mach_port_name_t*>(memory[each]) : nullptr;
        // The caller deallocates `count` names. Releases the pages behind them.
        const vm_size_t used = mach_vm_round_page(*count * sizeof(mach_port_name_t));
        const vm_size_t had = mach_vm_round_page(bytes);
        if (used < had) vm_deallocate(mach_task_self(), memory[each] + used, had - used);
      }
      return KERN_SUCCESS;
    }
    for (std::size_t each = 0; each < arrays; ++each) {
      vm_deallocate(mach_task_self(), memory[each], bytes);
    }
    if (answer.result != KERN_SUCCESS) return answer.result;
    room = answer.words[0] + 64;
  }
}

}  // namespace

extern "C" {

kern_return_t mach_port_names(ipc_space_t task, mach_port_name_array_t* names,
                              mach_msg_type_number_t* names_count, mach_port_type_array_t* types,
                              mach_msg_type_number_t* types_count) {
  mach_port_name_t* arrays[2]{};
  const kern_return_t result =
      fetch_arrays(2, arrays, names_count, [task](const vm_address_t* memory, std::uint64_t room) {
        return call(call_number::names, task, memory[0], memory[1], room);
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
        return call(call_number::get_set_status, task, name, memory[0], room);
      });
  if (result == KERN_SUCCESS) *members = array;
  return result;
}

kern_return_t mach_port_type(ipc_space_t task, mach_port_name_t name, mach_port_type_t* type) {
  return give(call(call_number::type, task, name), type);
}

kern_return_t mach_port_allocate(ipc_space_t task, mach_port_right_t right,
                                 mach_port_name_t* name) {
  return give(call(call_number::allocate, task, right), name);
}

kern_return_t mach_port_construct(ipc_space_t task, mach_port_options_ptr_t options,
                                  mach_port_context_t context, mach_port_name_t* name) {
  if (!options) return KERN_INVALID_ARGUMENT;
  return give(call(call_number::construct, task, options->flags, options->mpl.mpl_qlimit, context,
                   options->service_port_name),
              name);
}

kern_return_t mach_port_destruct(ipc_space_t task, mach_port_name_t name, mach_port_delta_t srdelta,
                                 mach_port_context_t guard) {
  return call(call_number::destruct, task, name, word(srdelta), guard).result;
}

kern_return_t mach_port_destroy(ipc_space_t task, mach_port_name_t name) {
  return call(call_number::destroy, task, name).result;
}

kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name) {
  return call(call_number::deallocate, task, name).result;
}

kern_return_t mach_port_get_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_urefs_t* refs) {
  return give(call(call_number::get_refs, task, name, right), refs);
}

kern_return_t mach_port_mod_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_delta_t delta) {
  return call(call_number::mod_refs, task, name, right, word(delta)).result;
}

kern_return_t mach_port_insert_right(ipc_space_t task, mach_port_name_t name, mach_port_t poly,
                                     mach_msg_type_name_t polyPoly) {
  return call(call_number::insert_right, task, name, poly, polyPoly).result;
}

kern_return_t mach_port_extract_right(ipc_space_t task, mach_port_name_t name,
                                      mach_msg_type_name_t msgt_name, mach_port_t* poly,
                                      mach_msg_type_name_t* polyPoly) {
  const reply answer = call(call_number::extract_right, task, name, msgt_name);
  if (answer.result == KERN_SUCCESS) {
    *polyPoly = static_cast<mach_msg_type_name_t>(answer.words[1]);
  }
  return give(answer, poly);
}

kern_return_t mach_port_move_member(ipc_space_t task, mach_port_name_t member,
                                    mach_port_name_t after) {
  return call(call_number::move_member, task, member, after).result;
}

kern_return_t mach_port_insert_member(ipc_space_t task, mach_port_name_t name,
                                      mach_port_name_t pset) {
  return call(call_number::insert_member, task, name, pset).result;
}

kern_return_t mach_port_extract_member(ipc_space_t task, mach_port_name_t name,
                                       mach_port_name_t pset) {
  return call(call_number::extract_member, task, name, pset).result;
}

kern_return_t mach_port_request_notification(ipc_space_t task, mach_port_name_t name,
                                             mach_msg_id_t msgid, mach_port_mscount_t sync,
                                             mach_port_t notify, mach_msg_type_name_t notifyPoly,
                                             mach_port_t* previous) {
  return give(
      call(call_number::request_notification, task, name, word(msgid), sync, notify, notifyPoly),
      previous);
}

kern_return_t mach_port_get_attributes(ipc_space_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t info,
                                       mach_msg_type_number_t* info_count) {
  return give(
      call(call_number::get_attributes, task, name, word(flavor), address(info), *info_count),
      info_count);
}

kern_return_t mach_port_set_attributes(ipc_space_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t info,
                                       mach_msg_type_number_t info_count) {
  return call(call_number::set_attributes, task, name, word(flavor), address(info), info_count)
      .result;
}

kern_return_t mach_port_set_mscount(ipc_space_t task, mach_port_name_t name,
                                    mach_port_mscount_t mscount) {
  return call(call_number::set_mscount, task, name, mscount).result;
}

kern_return_t mach_port_set_seqno(ipc_space_t task, mach_port_name_t name,
                                  mach_port_seqno_t seqno) {
  return call(call_number::set_seqno, task, name, seqno).result;
}

kern_return_t mach_port_get_context(ipc_space_t task, mach_port_name_t name,
                                    mach_port_context_t* context) {
  return give(call(call_number::get_context, task, name), context);
}

kern_return_t mach_port_set_context(ipc_space_t task, mach_port_name_t name,
                                    mach_port_context_t context) {
  return call(call_number::set_context, task, name, context).result;
}

kern_return_t mach_port_guard(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard,
                              boolean_t strict) {
  return mach_port_guard_with_flags(task, name, guard, strict ? MPG_STRICT : MPG_FLAGS_NONE);
}

kern_return_t mach_port_guard_with_flags(ipc_space_t task, mach_port_name_t name,
                                         mach_port_context_t guard, uint64_t flags) {
  return call(call_number::guard, task, name, guard, flags).result;
}

kern_return_t mach_port_unguard(ipc_space_t task, mach_port_name_t name,
                                mach_port_context_t guard) {
  return call(call_number::unguard, task, name, guard).result;
}

kern_return_t mach_port_swap_guard(ipc_space_t task, mach_port_name_t name,
                                   mach_port_context_t old_guard, mach_port_context_t new_guard) {
  return call(call_number::swap_guard, task, name, old_guard, new_guard).result;
}

kern_return_t mach_port_get_srights(ipc_space_t task, mach_port_name_t name,
                                    mach_port_rights_t* srights) {
  return give(call(call_number::get_srights, task, name), srights);
}

kern_return_t mach_port_peek(ipc_space_t task, mach_port_name_t name,
                             mach_msg_trailer_type_t trailer_type,
                             mach_port_seqno_t* request_seqnop, mach_msg_size_t* msg_sizep,
                             mach_msg_id_t* msg_idp, mach_msg_trailer_info_t trailer_infop,
                             mach_msg_type_number_t* trailer_infopCnt) {
  const reply answer = call(call_number::peek, task, name, trailer_type, *request_seqnop,
                            address(trailer_infop), *trailer_infopCnt);
  if (answer.result != KERN_SUCCESS) return answer.result;
  *request_seqnop = static_cast<mach_port_seqno_t>(answer.words[0] >> 32);
  *msg_sizep = static_cast<mach_msg_size_t>(answer.words[0]);
  *msg_idp = static_cast<mach_msg_id_t>(answer.words[1] >> 32);
  *trailer_infopCnt = static_cast<mach_msg_type_number_t>(answer.words[1]);
  return KERN_SUCCESS;
}

kern_return_t mach_port_rename(ipc_space_t task, mach_port_name_t old_name,
                               mach_port_name_t new_name) {
  return call(call_number::rename, task, old_name, new_name).result;
}

// Makes a receive right. Returns MACH_PORT_NULL if the kernel refuses.
mach_port_name_t mach_reply_port(void) {
  const reply answer = call(call_number::reply_port, mach_task_self());
  return answer.result == KERN_SUCCESS ? static_cast<mach_port_name_t>(answer.words[0])
                                       : mach_port_name_t{MACH_PORT_NULL};
}

}  // extern "C"
