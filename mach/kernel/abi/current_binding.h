// current_binding: the binding through which this process's mach_* functions call the kernel.
#pragma once

#include <mach/mach.h>

#include <atomic>
#include <cstdint>

#include "kedge/mach/kernel/abi/guard_exception.h"
#include "kedge/mach/kernel/core/binding.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

inline constinit std::atomic<binding*> binding_in_use{nullptr};  // null: not chosen yet
binding& use_default_binding();

// Returns the binding in use: the default one, unless bind() has chosen another.
inline binding& current_binding() {
  binding* const found = binding_in_use.load(std::memory_order_acquire);
  return found ? *found : use_default_binding();
}

// Chooses the binding to use; null chooses the default one. Returns the one used before, or null.
// For tests. Requires that no call is in progress. A fork's child uses the default binding.
binding* bind(binding* chosen) noexcept;

// The function of the C interface that makes the call, for a message about it.
const char* function_of(call_number number) noexcept;

// Makes a call of the thread's current task. Raises the guard exception of the reply, if it has
// one.
void make_call(const any_request& request, any_reply& reply, attachment* file);

// The same without a file, inlined for mach_msg.
inline void make_call_inline(const any_request& request, any_reply& reply) {
  current_binding().call(task_of_thread().id, request, reply, own_memory(), nullptr);
  if (reply.guard.code != 0) [[unlikely]]
    raise_guard_exception(reply.guard, function_of(request.number));
}

// Returns the rights that the current task has under the name; MACH_PORT_TYPE_NONE: there is no
// such name.
inline mach_port_type_t rights_under(mach_port_name_t name) noexcept {
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  return mach_port_type(mach_task_self(), name, &type) == KERN_SUCCESS ? type : MACH_PORT_TYPE_NONE;
}

// Returns the error of a call whose destination is another port than the call is for.
// MACH_SEND_INVALID_DEST: no message can be sent there. KERN_INVALID_ARGUMENT: its receiver refuses
// the call.
inline kern_return_t fault_of_destination(mach_port_name_t name) noexcept {
  return rights_under(name) & MACH_PORT_TYPE_SEND_RIGHTS ? KERN_INVALID_ARGUMENT
                                                         : MACH_SEND_INVALID_DEST;
}

inline user_buffer user_buffer_of(const void* at, std::uint64_t size) noexcept {
  return {reinterpret_cast<std::uintptr_t>(at), size};
}

// What a call has returned. The fields of the reply are valid only if the result is KERN_SUCCESS.
template <typename Request>
struct answer_to {
  kern_return_t result;
  typename Request::reply fields;
};

// Makes a call by its own struct:
//
//   const auto answer = call(requests::get_refs{.name = name, .right = right}, task);
//   if (answer.result == KERN_SUCCESS) *refs = answer.fields.references;
template <typename Request>
answer_to<Request> call(const Request& request, mach_port_name_t target = mach_task_self(),
                        attachment* file = nullptr) {
  any_reply reply;
  make_call(any_request(request, target), reply, file);
  return {reply.result, reply.as<typename Request::reply>()};
}

// Stores one field of the reply if the call has succeeded. Returns the call's result.
template <typename Request, typename Field, typename Result>
kern_return_t store(const answer_to<Request>& answer, Field Request::reply::* field,
                    Result* result) noexcept {
  if (answer.result == KERN_SUCCESS) *result = answer.fields.*field;
  return answer.result;
}

}  // namespace kedge::mach::kernel
