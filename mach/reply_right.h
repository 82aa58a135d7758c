// reply_right: the right to answer a message: send-once or send, as its sender chose.
#pragma once

#include "kedge/mach/name_reference.h"

namespace kedge::mach {

class reply_right : public name_reference {
 public:
  // Empty: no answer is expected, or whoever expected it has died. Sending to it gives
  // errc::peer_died.
  reply_right() = default;

  // Takes over the right. `disposition` is MACH_MSG_TYPE_MOVE_SEND or MACH_MSG_TYPE_MOVE_SEND_ONCE;
  // without a right it does not count.
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
