// mach_port_request_notification, as its caller sees it: the port that is to be notified is copied
// in, and the one that was registered before is copied out (Darwin: mach_port.c). The registration
// itself is notification.h's.
#include <mach/mig_errors.h>

#include <mutex>
#include <new>

#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

// Makes the send-once right that a notification will consume; null if the caller asks for none.
kern_return_t port_call::take_notify(mach_port_name_t notify, mach_msg_type_name_t disposition,
                                     port*& right) {
  const bool once =
      disposition == MACH_MSG_TYPE_MAKE_SEND_ONCE || disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  if (is_null_or_dead(notify)) {
    if (!once) return MIG_TYPE_ERROR;
    return notify == MACH_PORT_NULL ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
  }
  carried_right taken;
  bool known = false;
  kern_return_t result = KERN_INVALID_NAME;
  {
    const std::lock_guard hold(caller_.names.lock);
    if (entry* const found = caller_.names.find(notify)) {
      known = true;
      result = copy_in(rights_in(caller_.names), notify, *found, {disposition}, taken);
    }
  }
  deferred_.flush(cleanup_);
  if (!once) {
    // Darwin's wrapper sends a message then: MIG refuses the type, or the copy-in fails.
    if (result != KERN_SUCCESS) {
      if (known && guard_.code == 0) guard_ = {kGUARD_EXC_SEND_INVALID_RIGHT, notify, 0};
      return MACH_SEND_INVALID_RIGHT;
    }
    release_right(taken, cleanup_);
    return MIG_TYPE_ERROR;
  }
  if (result != KERN_SUCCESS) return result;
  if (!taken.target) return KERN_INVALID_CAPABILITY;
  right = taken.target;
  return KERN_SUCCESS;
}

kern_return_t port_call::request_notification(const requests::request_notification& request,
                                              replies::request_notification& reply) {
  end_receiver(request.name);
  port* notify = nullptr;
  const kern_return_t failed = take_notify(request.notify, request.disposition, notify);
  if (failed != KERN_SUCCESS) return failed;
  port* previous = nullptr;
  kern_return_t result = KERN_SUCCESS;
  try {
    result = request_notification_at(rights_in(space_), request.name,
                                     {request.id, request.sync, notify}, previous);
  } catch (const std::bad_alloc&) {
    result = KERN_RESOURCE_SHORTAGE;
  }
  deferred_.flush(cleanup_);
  if (result != KERN_SUCCESS) {
    if (notify) release_send_once_right(notify, cleanup_);
    return result;
  }
  // The new request stands, whether or not there is room for the right of the previous one.
  carried_right right{previous, MACH_MSG_TYPE_MOVE_SEND_ONCE, false};
  (void)copy_out_or_release(caller_.names, right, reply.previous, cleanup_);
  end_receiver(request.name, fault_point::death_after);
  return reply.previous == MACH_PORT_DEAD && notify ? KERN_INVALID_CAPABILITY : KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
