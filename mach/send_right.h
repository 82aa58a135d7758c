// send_right: one user reference to a send right. Copying makes one more.
//
// It stays valid when the port dies: the name is a dead name then, sends give errc::peer_died,
// and the reference is released as before.
#pragma once

#include "kedge/mach/name_reference.h"

namespace kedge::mach {

class send_right : public name_reference {
 public:
  // Empty.
  send_right() = default;
  // Throws std::system_error (a kern_return_t) if the name is not what the object says.
  send_right(const send_right& other) : send_right(another(other.name())) {}
  send_right& operator=(const send_right& other);
  send_right(send_right&&) = default;
  send_right& operator=(send_right&&) = default;

  // Takes over one user reference that the caller has. MACH_PORT_NULL and MACH_PORT_DEAD give an
  // empty one.
  static send_right adopt(mach_port_name_t name) noexcept { return send_right(name); }

  // One more user reference to a name that is somebody else's; empty for MACH_PORT_NULL. Throws
  // std::system_error.
  static send_right another(mach_port_name_t name);

  // Whether the port is known to be dead at this moment. died() waits for it.
  bool dead() const noexcept;

 private:
  using name_reference::name_reference;
};

}  // namespace kedge::mach
