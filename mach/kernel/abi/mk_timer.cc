// Implements mk_timer_*().
#include <mach/mk_timer.h>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

extern "C" {

mach_port_name_t mk_timer_create(void) {
  mach_port_name_t name = MACH_PORT_NULL;
  store(call(requests::timer_create{}), &replies::timer_create::name, &name);
  return name;
}

kern_return_t mk_timer_destroy(mach_port_name_t name) {
  return call(requests::timer_destroy{name}).result;
}

kern_return_t mk_timer_arm(mach_port_name_t name, uint64_t expire_time) {
  return call(requests::timer_arm{.deadline = expire_time, .name = name}).result;
}

kern_return_t mk_timer_cancel(mach_port_name_t name, uint64_t* result_time) {
  uint64_t armed = 0;
  const kern_return_t result =
      store(call(requests::timer_cancel{name}), &replies::timer_cancel::deadline, &armed);
  if (result == KERN_SUCCESS && result_time) *result_time = armed;
  return result;
}

kern_return_t mk_timer_arm_leeway(mach_port_name_t name, uint64_t, uint64_t mk_timer_expire_time,
                                  uint64_t) {
  return mk_timer_arm(name, mk_timer_expire_time);
}

}  // extern "C"
