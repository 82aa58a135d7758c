// Implements task_info(), pid_for_task(), mach_task_is_self() and
// task_{get,set}_exc_guard_behavior().
#include <mach/mach.h>

#include <unistd.h>

#include <cstdint>

#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::user_buffer_of;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

extern "C" {

kern_return_t task_info(task_name_t target_task, task_flavor_t flavor, task_info_t task_info_out,
                        mach_msg_type_number_t* task_info_outCnt) {
  const kern_return_t bad = kedge::mach::kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS) return bad;
  const bool is_security = flavor == TASK_SECURITY_TOKEN;
  if (!is_security && flavor != TASK_AUDIT_TOKEN) return KERN_INVALID_ARGUMENT;
  const mach_msg_type_number_t count =
      is_security ? TASK_SECURITY_TOKEN_COUNT : mach_msg_type_number_t{TASK_AUDIT_TOKEN_COUNT};
  if (*task_info_outCnt < count) return KERN_INVALID_ARGUMENT;
  const std::uint64_t to = user_buffer_of(task_info_out, 0).at;
  const kern_return_t result =
      call(requests::task_identity{.security = is_security ? to : 0, .audit = is_security ? 0 : to},
           target_task)
          .result;
  if (result == KERN_SUCCESS) *task_info_outCnt = count;
  return result;
}

kern_return_t pid_for_task(mach_port_name_t t, int* x) {
  const bool is_task = kedge::mach::kernel::check_memory_task(t) == KERN_SUCCESS;
  *x = is_task ? getpid() : -1;
  return is_task ? KERN_SUCCESS : KERN_FAILURE;
}

boolean_t mach_task_is_self(task_name_t task) {
  return task == mach_task_self();
}

kern_return_t task_get_exc_guard_behavior(task_inspect_t task,
                                          task_exc_guard_behavior_t* behavior) {
  return store(call(requests::get_guard_behavior{}, task), &replies::get_guard_behavior::behavior,
               behavior);
}

kern_return_t task_set_exc_guard_behavior(task_t task, task_exc_guard_behavior_t behavior) {
  const kern_return_t bad = call(requests::check_task{}, task).result;
  if (bad != KERN_SUCCESS) return bad;
  if (behavior & ~static_cast<task_exc_guard_behavior_t>(TASK_EXC_GUARD_ALL)) {
    return KERN_INVALID_VALUE;
  }
  return call(requests::set_guard_behavior{behavior}, task).result;
}

}  // extern "C"
