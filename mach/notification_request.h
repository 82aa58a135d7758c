// replace_request(), remove_request(): the requests for the kernel's notifications about a name, of
// which the kernel keeps one of each kind (mach_port_request_notification).
#pragma once

#include <mach/mach.h>

#include <utility>

#include "kedge/mach/ledger.h"
#include "kedge/mach/send_once_right.h"

namespace kedge::mach {

// Requests the notification `kind` (MACH_NOTIFY_*) about `name`, at the port `notify`. Returns the
// kernel's code, and in `displaced` the right of the request that was registered before. It is
// empty if there was none, or if its port is dead.
inline kern_return_t replace_request(mach_port_name_t name, mach_msg_id_t kind,
                                     mach_port_mscount_t sync, mach_port_name_t notify,
                                     mach_msg_type_name_t disposition,
                                     send_once_right& displaced) noexcept {
  mach_port_t previous = MACH_PORT_NULL;
  const kern_return_t code = mach_port_request_notification(mach_task_self(), name, kind, sync,
                                                            notify, disposition, &previous);
  displaced = send_once_right::adopt(previous, place());
  // The request stands; the port of the displaced one is dead.
  return code == KERN_INVALID_CAPABILITY ? KERN_SUCCESS : code;
}

// Registers the request of the right `by` again, and destroys the right that it displaces. If the
// kernel refuses, `by` is destroyed, and its port notified of that. No effect if `by` is empty.
inline void restore_request(mach_port_name_t name, mach_msg_id_t kind,
                            send_once_right&& by) noexcept {
  if (!by) return;
  send_once_right displaced;
  replace_request(name, kind, 0, std::move(by).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE, displaced);
}

// Removes the request, and returns its right.
inline send_once_right remove_request(mach_port_name_t name, mach_msg_id_t kind) noexcept {
  send_once_right removed;
  replace_request(name, kind, 0, MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND_ONCE, removed);
  return removed;
}

}  // namespace kedge::mach
