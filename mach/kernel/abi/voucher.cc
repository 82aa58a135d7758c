// Implements host_create_mach_voucher().
#include <mach/mach.h>
#include <mach/mach_host.h>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::reply;

extern "C" kern_return_t host_create_mach_voucher(host_t host,
                                                  mach_voucher_attr_raw_recipe_array_t recipes,
                                                  mach_msg_type_number_t recipesCnt,
                                                  ipc_voucher_t* voucher) {
  const reply answer = call(call_number::voucher_create, mach_task_self(), host,
                            reinterpret_cast<std::uintptr_t>(recipes), recipesCnt);
  if (answer.result == KERN_SUCCESS) *voucher = static_cast<ipc_voucher_t>(answer.words[0]);
  return answer.result;
}
