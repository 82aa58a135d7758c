// The calls that count, move and release rights (Darwin: mach_port_get_refs and its like in
// mach_port.c; the rules are right.h's).
#include <mutex>

#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right_release.h"

namespace kedge::mach::kernel {

kern_return_t port_call::destroy(const requests::destroy& request) {
  if (is_null_or_dead(request.name)) return KERN_SUCCESS;
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return refuse(request.name, KERN_INVALID_NAME);
  return destroy_rights(rights_in(space_), request.name, *found);
}

kern_return_t port_call::deallocate(const requests::deallocate& request) {
  if (is_null_or_dead(request.name)) return KERN_SUCCESS;
  end_receiver(request.name);
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return refuse(request.name, KERN_INVALID_NAME);
  return deallocate_right(rights_in(space_), request.name, *found);
}

kern_return_t port_call::get_refs(const requests::get_refs& request, replies::get_refs& reply) {
  const mach_port_right_t right = request.right;
  if (right >= MACH_PORT_RIGHT_NUMBER) return KERN_INVALID_VALUE;
  if (is_null_or_dead(request.name)) {
    if (right != MACH_PORT_RIGHT_SEND && right != MACH_PORT_RIGHT_SEND_ONCE) {
      return KERN_INVALID_NAME;
    }
    reply.references = 1;
    return KERN_SUCCESS;
  }
  end_receiver(request.name);
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return KERN_INVALID_NAME;
  convert_if_dead(space_, request.name, *found);
  const bool has = (found->type & MACH_PORT_TYPE(right)) != 0;
  const bool counted = right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_DEAD_NAME;
  reply.references = !has ? 0 : counted ? found->urefs : 1;
  return KERN_SUCCESS;
}

kern_return_t port_call::mod_refs(const requests::mod_refs& request) {
  const mach_port_right_t right = request.right;
  if (right >= MACH_PORT_RIGHT_NUMBER) return KERN_INVALID_VALUE;
  if (is_null_or_dead(request.name)) {
    return right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_SEND_ONCE ? KERN_SUCCESS
                                                                               : KERN_INVALID_NAME;
  }
  end_receiver(request.name);
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return refuse(request.name, KERN_INVALID_NAME);
  return change_refs(rights_in(space_), request.name, *found, right, request.delta);
}

kern_return_t port_call::self(const requests::self& request) {
  return mod_refs({.name = request.name, .right = MACH_PORT_RIGHT_SEND, .delta = 1});
}

kern_return_t port_call::copy_in_to_insert(const requests::insert_right& request,
                                           carried_right& right) {
  const std::lock_guard hold(caller_.names.lock);
  entry* const found = is_null_or_dead(request.right) ? nullptr : caller_.names.find(request.right);
  if (!found) return KERN_INVALID_NAME;
  const bool into_its_own_name = request.right == request.name && &caller_.names == &space_;
  if (into_its_own_name && request.disposition == MACH_MSG_TYPE_MAKE_SEND &&
      convert_if_dead(space_, request.right, *found)) {
    return KERN_INVALID_CAPABILITY;
  }
  // A copy into its own name does not find out that the port is dead: the name stays what it is.
  if (into_its_own_name && request.disposition == MACH_MSG_TYPE_COPY_SEND &&
      type_of(*found) == MACH_PORT_TYPE_DEAD_NAME) {
    return KERN_INVALID_CAPABILITY;
  }
  return copy_in(rights_in(caller_.names), request.right, *found, {request.disposition}, right);
}

kern_return_t port_call::insert_right(const requests::insert_right& request) {
  end_receiver(request.right);
  carried_right right;
  const kern_return_t failed = copy_in_to_insert(request, right);
  if (failed != KERN_SUCCESS) return failed;
  // After this a failure has consumed the right.
  deferred_.flush(cleanup_);
  if (right.target) cleanup_.owner.end_receiver(*right.target, caller_, fault_point::death_during);
  if (is_null_or_dead(request.name)) {
    release_right(right, cleanup_);
    return KERN_INVALID_VALUE;
  }
  if (!right.target) return KERN_INVALID_CAPABILITY;
  kern_return_t result = KERN_INVALID_TASK;
  {
    const std::lock_guard hold(space_.lock);
    if (space_.active)
      result = copy_out_at(space_, right, request.name, cleanup_.owner.os_profile());
  }
  if (result != KERN_SUCCESS) release_right(right, cleanup_);
  return result;
}

kern_return_t port_call::extract_right(const requests::extract_right& request,
                                       replies::extract_right& reply) {
  if (!MACH_MSG_TYPE_PORT_ANY(request.disposition)) return KERN_INVALID_VALUE;
  if (is_null_or_dead(request.name)) return KERN_INVALID_RIGHT;
  carried_right right;
  {
    const std::lock_guard hold(space_.lock);
    entry* const found = space_.find(request.name);
    if (!found) return KERN_INVALID_NAME;
    const kern_return_t failed =
        copy_in(rights_in(space_), request.name, *found, {request.disposition}, right);
    if (failed != KERN_SUCCESS) return failed;
  }
  deferred_.flush(cleanup_);
  reply.disposition = arrives_as(request.disposition);
  return copy_out_or_release(caller_.names, right, reply.name, cleanup_);
}

}  // namespace kedge::mach::kernel
