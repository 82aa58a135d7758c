// Implements task_get_special_port(), task_set_special_port(), mach_ports_register() and
// mach_ports_lookup().
#include <mach/mach.h>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::reply;

extern "C" {

kern_return_t task_get_special_port(task_inspect_t task, int which_port,
                                    mach_port_t* special_port) {
  const reply answer =
      call(call_number::get_special_port, task, static_cast<std::uint32_t>(which_port));
  if (answer.result == KERN_SUCCESS) *special_port = static_cast<mach_port_t>(answer.words[0]);
  return answer.result;
}

kern_return_t task_set_special_port(task_t task, int which_port, mach_port_t special_port) {
  return call(call_number::set_special_port, task, static_cast<std::uint32_t>(which_port),
              special_port)
      .result;
}

kern_return_t mach_ports_register(task_t target_task, mach_port_array_t init_port_set,
                                  mach_msg_type_number_t init_port_setCnt) {
  if (init_port_setCnt > MACH_PORTS_SLOTS_USED) return KERN_INVALID_ARGUMENT;
  mach_port_t names[MACH_PORTS_SLOTS_USED]{};
  for (mach_msg_type_number_t each = 0; each < init_port_setCnt; ++each) {
    names[each] = init_port_set[each];
  }
  return call(call_number::register_ports, target_task, names[0], names[1], names[2]).result;
}

kern_return_t mach_ports_lookup(task_t target_task, mach_port_array_t* init_port_set,
                                mach_msg_type_number_t* init_port_setCnt) {
  vm_address_t memory = 0;
  constexpr vm_size_t size = MACH_PORTS_SLOTS_USED * sizeof(mach_port_t);
  const kern_return_t failed = vm_allocate(mach_task_self(), &memory, size, VM_FLAGS_ANYWHERE);
  if (failed != KERN_SUCCESS) return failed;
  const reply answer = call(call_number::look_up_ports, target_task);
  if (answer.result != KERN_SUCCESS) {
    vm_deallocate(mach_task_self(), memory, size);
    return answer.result;
  }
  auto* const names = reinterpret_cast<mach_port_t*>(memory);
  names[0] = static_cast<mach_port_t>(answer.words[0]);
  names[1] = static_cast<mach_port_t>(answer.words[0] >> 32);
  names[2] = static_cast<mach_port_t>(answer.words[1]);
  *init_port_set = names;
  *init_port_setCnt = MACH_PORTS_SLOTS_USED;
  return KERN_SUCCESS;
}

}  // extern "C"
