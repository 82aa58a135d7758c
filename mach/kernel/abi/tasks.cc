// Implements kedge/mach/kernel/extension.h: several tasks in one process.
#include <new>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

task create_task() {
  return create_task(0);
}

task create_task(std::uint32_t first_index) {
  const auto answer = call(requests::task_create{.first_index = first_index});
  if (answer.result != KERN_SUCCESS) throw std::bad_alloc();
  return {answer.fields.id};
}

void terminate_task(task ending) noexcept {
  call(requests::task_terminate{ending.id});
}

mach_port_t task_self_port(task of) noexcept {
  if (of == task_of_thread()) return mach_task_self();
  const auto answer = call(requests::task_self_port{of.id});
  return answer.result == KERN_SUCCESS ? answer.fields.name : MACH_PORT_DEAD;
}

kern_return_t place_right(task into, mach_port_name_t right, mach_port_name_t* name) noexcept {
  const auto answer = call(requests::task_place_right{.id = into.id, .right = right});
  *name = answer.result == KERN_SUCCESS ? answer.fields.name : mach_port_name_t{MACH_PORT_NULL};
  return answer.result;
}

void limit_names(task of, std::uint32_t count) noexcept {
  call(requests::task_limit_names{.id = of.id, .count = count});
}

void set_guard_behaviour(task of, guard_behaviour chosen) noexcept {
  call(requests::task_set_guards{.id = of.id, .behaviour = static_cast<std::uint32_t>(chosen)});
}

std::vector<guard_exception> take_guard_exceptions(task of) {
  std::vector<guard_exception> taken;
  for (;;) {
    const auto answer = call(requests::task_take_guard{of.id});
    if (answer.result != KERN_SUCCESS) return taken;
    const guard_violation& next = answer.fields.oldest;
    taken.push_back({next.code, next.name, next.subcode, next.always_fatal()});
  }
}

void set_kernel_profile(kernel_profile chosen) noexcept {
  call(requests::set_profile{static_cast<std::uint32_t>(chosen)});
}

fault_tally plan_faults(const fault_plan& plan) noexcept {
  // A task that has ended, as one does by a fault, could not end the plan.
  const current_task_guard in_own_task({});
  const auto answer = call(requests::plan_faults{.nth = plan.nth,
                                                 .seed = plan.seed,
                                                 .id = plan.of ? plan.of->id : 0,
                                                 .points = plan.points,
                                                 .one_in = plan.one_in,
                                                 .of_task = plan.of ? 1u : 0u});
  return {answer.fields.passed, answer.fields.caused, static_cast<fault>(answer.fields.last)};
}

fault_tally end_faults() noexcept {
  return plan_faults({.points = 0});
}

void enforce_strict_replies(bool enforced) noexcept {
  call(requests::set_strict_replies{enforced});
}

}  // namespace kedge::mach::kernel
