// send_once_right: the right to send one message. If it is destroyed unused, the kernel sends
// MACH_NOTIFY_SEND_ONCE to its port.
#pragma once

#include "kedge/mach/name_reference.h"

namespace kedge::mach {

class send_once_right : public name_reference {
 public:
  // Empty.
  send_once_right() = default;

  // Takes over the right `name`. MACH_PORT_NULL and MACH_PORT_DEAD give an empty object.
  static send_once_right adopt(mach_port_name_t name) noexcept { return send_once_right(name); }

 private:
  using name_reference::name_reference;
};

}  // namespace kedge::mach
