// Implements host_create_mach_voucher() and mach_voucher_deallocate().
#include <mach/mach.h>
#include <mach/mach_host.h>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::user_buffer_of;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

extern "C" kern_return_t host_create_mach_voucher(host_t host,
                                                  mach_voucher_attr_raw_recipe_array_t recipes,
                                                  mach_msg_type_number_t recipesCnt,
                                                  ipc_voucher_t* voucher) {
  return store(
      call(requests::voucher_create{.recipes = user_buffer_of(recipes, recipesCnt), .host = host}),
      &replies::voucher_create::name, voucher);
}

extern "C" kern_return_t mach_voucher_deallocate(mach_port_name_t voucher) {
  return mach_port_deallocate(mach_task_self(), voucher);
}
