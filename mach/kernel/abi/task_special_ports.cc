// Implements task_get_special_port(), task_set_special_port(), mach_ports_register() and
// mach_ports_lookup().
#include <mach/mach.h>

#include <algorithm>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

extern "C" {

kern_return_t task_get_special_port(task_inspect_t task, int which_port,
                                    mach_port_t* special_port) {
  return store(call(requests::get_special_port{which_port}, task), &replies::get_special_port::name,
               special_port);
}

kern_return_t task_set_special_port(task_t task, int which_port, mach_port_t special_port) {
  return call(requests::set_special_port{.which = which_port, .name = special_port}, task).result;
}

kern_return_t mach_ports_register(task_t target_task, mach_port_array_t init_port_set,
                                  mach_msg_type_number_t init_port_setCnt) {
  if (init_port_setCnt > MACH_PORTS_SLOTS_USED) return KERN_INVALID_ARGUMENT;
  requests::register_ports request{};
  for (mach_msg_type_number_t each = 0; each < init_port_setCnt; ++each) {
    request.names[each] = init_port_set[each];
  }
  return call(request, target_task).result;
}

kern_return_t mach_ports_lookup(task_t target_task, mach_port_array_t* init_port_set,
                                mach_msg_type_number_t* init_port_setCnt) {
  vm_address_t memory = 0;
  constexpr vm_size_t size = MACH_PORTS_SLOTS_USED * sizeof(mach_port_t);
  const kern_return_t failed = vm_allocate(mach_task_self(), &memory, size, VM_FLAGS_ANYWHERE);
  if (failed != KERN_SUCCESS) return failed;
  const auto answer = call(requests::look_up_ports{}, target_task);
  if (answer.result != KERN_SUCCESS) {
    vm_deallocate(mach_task_self(), memory, size);
    return answer.result;
  }
  auto* const names = reinterpret_cast<mach_port_t*>(memory);
  std::copy(answer.fields.names.begin(), answer.fields.names.end(), names);
  *init_port_set = names;
  *init_port_setCnt = MACH_PORTS_SLOTS_USED;
  return KERN_SUCCESS;
}

}  // extern "C"
