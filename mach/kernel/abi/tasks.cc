// Implements kedge/mach/kernel/extension.h: several tasks in one process.
#include <new>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

task create_task() {
  return create_task(0);
}

task create_task(std::uint32_t first_index) {
  const reply answer = call(call_number::task_create, mach_task_self(), first_index);
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

void limit_names(task of, std::uint32_t count) noexcept {
  call(call_number::task_limit_names, mach_task_self(), of.id, count);
}

void set_guard_behaviour(task of, guard_behaviour chosen) noexcept {
  call(call_number::task_set_guards, mach_task_self(), of.id, static_cast<std::uint64_t>(chosen));
}

std::vector<guard_exception> take_guard_exceptions(task of) {
  std::vector<guard_exception> taken;
  for (;;) {
    const reply answer = call(call_number::task_take_guard, mach_task_self(), of.id);
    if (answer.result != KERN_SUCCESS) return taken;
    const guard_violation next{static_cast<std::uint32_t>(answer.words[0] >> 32),
                               static_cast<mach_port_name_t>(answer.words[0]), answer.words[1]};
    taken.push_back({next.code, next.name, next.subcode, next.always_fatal()});
  }
}

void set_kernel_profile(kernel_profile chosen) noexcept {
  call(call_number::set_profile, mach_task_self(), static_cast<std::uint64_t>(chosen));
}

void enforce_strict_replies(bool enforced) noexcept {
  call(call_number::set_strict_replies, mach_task_self(), enforced);
}

}  // namespace kedge::mach::kernel
