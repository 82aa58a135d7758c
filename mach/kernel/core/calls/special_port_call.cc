// Special and registered ports of a task (Darwin: ipc_tt.c).
#include "kedge/mach/kernel/core/calls/special_port_call.h"

#include <mach/task_special_ports.h>

#include <array>
#include <mutex>

#include "kedge/mach/kernel/core/calls/dispatch.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/core/right_release.h"
#include "kedge/mach/kernel/core/special_ports.h"

namespace kedge::mach::kernel {
namespace {

using slot = special_ports::slot;

constexpr std::array<slot, 3> registered{slot::registered_first, slot::registered_second,
                                         slot::registered_third};

// Returns false if tasks have no slot for this special port.
bool slot_of(std::int32_t which, slot& at) noexcept {
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

}  // namespace

kern_return_t special_port_call::run(const any_request& request, any_reply& reply) {
  const dispatcher run(*this, request, reply);
  switch (request.number) {
    case call_number::get_special_port:
      return run(&special_port_call::get);
    case call_number::set_special_port:
      return run(&special_port_call::set);
    case call_number::register_ports:
      return run(&special_port_call::register_ports);
    case call_number::look_up_ports:
      return run(&special_port_call::look_up);
    default:
      return KERN_INVALID_ARGUMENT;
  }
}

void special_port_call::deallocate_for_caller(mach_port_name_t name) {
  deferred_notifications deferred;
  guard_violation none;
  {
    const std::lock_guard hold(caller_.names.lock);
    if (entry* const found = MACH_PORT_VALID(name) ? caller_.names.find(name) : nullptr) {
      deallocate_right({caller_.names, deferred, none, cleanup_}, name, *found);
    }
  }
  deferred.flush(cleanup_);
}

kern_return_t special_port_call::get(const requests::get_special_port& request,
                                     replies::get_special_port& reply) {
  if (request.which == TASK_KERNEL_PORT) {
    return cleanup_.owner.name_send_right(caller_, target_.self_port(), reply.name);
  }
  if (request.which == TASK_HOST_PORT) {
    return cleanup_.owner.name_send_right(caller_, cleanup_.owner.host_port(), reply.name);
  }
  slot at{};
  if (!slot_of(request.which, at)) return KERN_INVALID_ARGUMENT;
  carried_right right = target_.special.copy(at);
  return copy_out_or_release(caller_.names, right, reply.name, cleanup_);
}

// One slot after the other.
kern_return_t special_port_call::fill(slot at, carried_right right) {
  carried_right previous = target_.special.exchange(at, right);
  release_right(previous, cleanup_);
  return end_filling();
}

// What has been put into a slot before the target ended is released with the target.
kern_return_t special_port_call::end_filling() {
  if (!target_.terminated()) return KERN_SUCCESS;
  target_.special.release_all(cleanup_);
  return KERN_FAILURE;
}

kern_return_t special_port_call::set(const requests::set_special_port& request) {
  carried_right right;
  const kern_return_t failed = take_copy(caller_.names, request.name, right, guard_, cleanup_);
  if (failed != KERN_SUCCESS) return failed;
  slot at{};
  kern_return_t refused = KERN_NO_ACCESS;
  if (slot_of(request.which, at)) {
    if (at != slot::access) return fill(at, right);
    // An access port stays once it is set.
    if (target_.special.set_once(at, right)) return end_filling();
  } else if (request.which != TASK_KERNEL_PORT && request.which != TASK_HOST_PORT) {
    refused = KERN_INVALID_ARGUMENT;
  }
  release_right(right, cleanup_);
  return refused;
}

kern_return_t special_port_call::register_ports(const requests::register_ports& request) {
  std::array<carried_right, registered.size()> rights{};
  kern_return_t result = KERN_SUCCESS;
  for (std::size_t each = 0; each < rights.size() && result == KERN_SUCCESS; ++each) {
    result = take_copy(caller_.names, request.names[each], rights[each], guard_, cleanup_);
  }
  for (std::size_t each = 0; each < rights.size(); ++each) {
    if (result == KERN_SUCCESS) {
      if (fill(registered[each], rights[each]) != KERN_SUCCESS) result = KERN_INVALID_ARGUMENT;
    } else {
      release_right(rights[each], cleanup_);
    }
  }
  return result;
}

kern_return_t special_port_call::look_up(const requests::look_up_ports&,
                                         replies::look_up_ports& reply) {
  static_assert(std::tuple_size_v<decltype(reply.names)> == registered.size());
  for (std::size_t each = 0; each < registered.size(); ++each) {
    carried_right right = target_.special.copy(registered[each]);
    const kern_return_t result =
        copy_out_or_release(caller_.names, right, reply.names[each], cleanup_);
    if (result == KERN_SUCCESS) continue;
    while (each-- > 0) deallocate_for_caller(reply.names[each]);
    return result;
  }
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
