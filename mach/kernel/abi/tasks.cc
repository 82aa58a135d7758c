// kedge/mach/kernel/extension.h.
#include <new>

#include "kedge/mach/kernel/abi/bound.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

task create_task() {
  const reply answer = call(call_number::task_create, mach_task_self());
  if (answer.result != KERN_SUCCESS) throw std::bad_alloc();
  return {answer.words[0]};
}

void terminate_task(task ending) noexcept {
  call(call_number::task_terminate, mach_task_self(), ending.id);
}

mach_port_t task_self_port(task of) noexcept {
  if (of == task_of_thread()) return mach_task_self();
  const reply answer = call(call_number::task_self_port, mach_task_self(), of.id);
  return answer.result == KERN_SUCCESS ? static_cast<mach_port_t>(answer.words[0]) : MACH_PORT_DEAD;
}

}  // namespace kedge::mach::kernel
