// send_right: one user reference to a send right. A copy is one more reference.
//
// The object stays valid when the port dies. Its name then is a dead name, sends give
// errc::peer_died, and the reference is released as before.
#pragma once

#include "kedge/mach/name_reference.h"

namespace kedge::mach {

class send_right : public name_reference {
 public:
  // Empty.
  send_right() = default;
  // Throws std::system_error (kern_return_t) if the name is neither a send right nor a dead name,
  // or has no room for another reference (KERN_UREFS_OVERFLOW).
  send_right(const send_right& other) : send_right(another(other.name())) {}
  send_right& operator=(const send_right& other);
  send_right(send_right&&) = default;
  send_right& operator=(send_right&&) = default;

  // Takes over one user reference of the caller. MACH_PORT_NULL and MACH_PORT_DEAD give an empty
  // right.
  static send_right adopt(mach_port_name_t name) noexcept { return send_right(name); }

  // Makes one more user reference to a name that another object or caller owns. MACH_PORT_NULL and
  // MACH_PORT_DEAD give an empty right. Throws std::system_error.
  static send_right another(mach_port_name_t name);

  // Returns true if the port is dead now. died() waits for that.
  bool dead() const noexcept;

 private:
  using name_reference::name_reference;
};

}  // namespace kedge::mach
