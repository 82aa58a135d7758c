// Implements port_destroyed with MACH_NOTIFY_PORT_DESTROYED.
#include "kedge/mach/port_destroyed.h"

#include <mach/notify.h>

#include "kedge/mach/error.h"
#include "kedge/mach/notification_request.h"
#include "kedge/mach/send_once_right.h"

namespace kedge::mach {

port_destroyed::port_destroyed(const receive_right& right)
    : port_(receive_right::make(1, place())) {
  send_once_right displaced;
  check(replace_request(right.usable("port_destroyed"), MACH_NOTIFY_PORT_DESTROYED, 0, port_.name(),
                        MACH_MSG_TYPE_MAKE_SEND_ONCE, displaced),
        "mach_port_request_notification");
}

result<receive_right> port_destroyed_operation::await_resume() {
  result<received> m = take();
  if (!m) return unexpected(m.error());
  if (m->id() != MACH_NOTIFY_PORT_DESTROYED || !m->from_kernel()) {
    return unexpected(make_error_code(kedge::errc::closed));
  }
  return m->take_revocable(0);
}

}  // namespace kedge::mach
