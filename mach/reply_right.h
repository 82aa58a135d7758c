// reply_right: the right to reply to a message: send-once or send, as the sender of the message
// chose.
#pragma once

#include "kedge/mach/name_reference.h"

namespace kedge::mach {

class reply_right : public name_reference {
 public:
  // Empty: the sender expects no reply, or its reply port has died. Sending to an empty reply right
  // gives errc::peer_died.
  reply_right() = default;

  // Takes over the right `name`. `disposition` is MACH_MSG_TYPE_MOVE_SEND or
  // MACH_MSG_TYPE_MOVE_SEND_ONCE. It is ignored if `name` is MACH_PORT_NULL or MACH_PORT_DEAD.
  static reply_right adopt(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept {
    reply_right r(name);
    if (r) r.disposition_ = disposition;
    return r;
  }

  mach_msg_type_name_t disposition() const noexcept { return disposition_; }

 private:
  using name_reference::name_reference;
  mach_msg_type_name_t disposition_ = MACH_MSG_TYPE_MOVE_SEND_ONCE;
};

}  // namespace kedge::mach
