#include "kedge/mach/kernel/core/calls/special_port_call.h"

#include <mach/task_special_ports.h>

#include <array>
#include <mutex>

#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right_release.h"
#include "kedge/mach/kernel/core/special_ports.h"

namespace kedge::mach::kernel {
namespace {

using slot = special_ports::slot;

constexpr std::array<slot, 3> registered{slot::registered_first, slot::registered_second,
                                         slot::registered_third};

bool slot_of(int which, slot& at) noexcept {
  switch (which) {
    case TASK_BOOTSTRAP_PORT:
      at = slot::bootstrap;
      return true;
    case TASK_ACCESS_PORT:
      at = slot::access;
      return true;
    case TASK_DEBUG_CONTROL_PORT:
      at = slot::debug_control;
      return true;
    case TASK_RESOURCE_NOTIFY_PORT:
      at = slot::resource_notify;
      return true;
    default:
      return false;
  }
}

kern_return_t give(ipc_task& to, carried_right right, mach_port_name_t& name,
                   deferred_work& after) {
  to.names.lock.lock();
  const kern_return_t result = copy_out(to.names, right, name);
  to.names.lock.unlock();
  if (result != KERN_SUCCESS) release_right(right, after);
  return result;
}

void take_back(ipc_task& from, mach_port_name_t name, deferred_work& after) {
  deferred_notifications then;
  guard_violation none;
  from.names.lock.lock();
  if (entry* const found = MACH_PORT_VALID(name) ? from.names.find(name) : nullptr) {
    deallocate_right({from.names, then, none, after}, name, *found);
  }
  from.names.lock.unlock();
  then.flush(after);
}

kern_return_t get(ipc_task& caller, ipc_task& target, int which, reply& answer,
                  deferred_work& after) {
  if (which == TASK_KERNEL_PORT) {
    return after.owner.name_send_right(caller, target.self_port(), answer);
  }
  if (which == TASK_HOST_PORT) {
    return after.owner.name_send_right(caller, after.owner.host_port(), answer);
  }
  slot at{};
  if (!slot_of(which, at)) return KERN_INVALID_ARGUMENT;
  mach_port_name_t name = MACH_PORT_NULL;
  const kern_return_t result = give(caller, target.special.copy(at), name, after);
  answer.words[0] = name;
  return result;
}

// One after the other; those set before a task ended are released with it.
kern_return_t set(ipc_task& target, slot at, carried_right right, deferred_work& after) {
  carried_right previous = target.special.exchange(at, right);
  release_right(previous, after);
  if (!target.terminated()) return KERN_SUCCESS;
  target.special.release_all(after);
  return KERN_FAILURE;
}

kern_return_t set(ipc_task& caller, ipc_task& target, int which, mach_port_name_t name,
                  reply& answer, deferred_work& after) {
  carried_right right;
  const kern_return_t failed = take_copy(caller.names, name, right, answer.guard, after);
  if (failed != KERN_SUCCESS) return failed;
  slot at{};
  kern_return_t result = KERN_SUCCESS;
  if (which == TASK_KERNEL_PORT || which == TASK_HOST_PORT) {
    result = KERN_NO_ACCESS;
  } else if (!slot_of(which, at)) {
    result = KERN_INVALID_ARGUMENT;
  } else if (at == slot::access && !target.special.empty(at)) {
    result = KERN_NO_ACCESS;  // once there, it stays
  }
  if (result == KERN_SUCCESS) return set(target, at, right, after);
  release_right(right, after);
  return result;
}

kern_return_t enter(ipc_task& caller, ipc_task& target, const request& what, reply& answer,
                    deferred_work& after) {
  std::array<carried_right, registered.size()> rights{};
  kern_return_t result = KERN_SUCCESS;
  for (std::size_t each = 0; each < rights.size() && result == KERN_SUCCESS; ++each) {
    result = take_copy(caller.names, static_cast<mach_port_name_t>(what.words[each]), rights[each],
                       answer.guard, after);
  }
  for (std::size_t each = 0; each < rights.size(); ++each) {
    if (result == KERN_SUCCESS) {
      if (set(target, registered[each], rights[each], after) != KERN_SUCCESS) {
        result = KERN_INVALID_ARGUMENT;
      }
    } else {
      release_right(rights[each], after);
    }
  }
  return result;
}

kern_return_t look_up(ipc_task& caller, ipc_task& target, reply& answer, deferred_work& after) {
  std::array<mach_port_name_t, registered.size()> names{};
  for (std::size_t each = 0; each < names.size(); ++each) {
    const kern_return_t result =
        give(caller, target.special.copy(registered[each]), names[each], after);
    if (result == KERN_SUCCESS) continue;
    while (each-- > 0) take_back(caller, names[each], after);
    return result;
  }
  answer.words = {names[0] | std::uint64_t{names[1]} << 32, names[2]};
  return KERN_SUCCESS;
}

}  // namespace

kern_return_t do_special_port_call(ipc_task& caller, ipc_task& target, const request& what,
                                   reply& answer, deferred_work& after) {
  const auto which = static_cast<std::int32_t>(what.words[0]);
  switch (what.call) {
    case call_number::get_special_port:
      return get(caller, target, which, answer, after);
    case call_number::set_special_port:
      return set(caller, target, which, static_cast<mach_port_name_t>(what.words[1]), answer,
                 after);
    case call_number::register_ports:
      return enter(caller, target, what, answer, after);
    default:
      return look_up(caller, target, answer, after);
  }
}

}  // namespace kedge::mach::kernel
