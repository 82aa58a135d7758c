// send_right: a send right to a port. A copy refers to the same right: all objects of a space that
// name the port share one user reference of the kernel's, so copying costs no call of the kernel,
// and 65,535 is no limit (reference_counts.h).
//
// The object stays valid when the port dies. Its name then is a dead name, sends give
// errc::peer_died, and the reference is released as before.
#pragma once

#include "kedge/mach/counted_name.h"

namespace kedge::mach {

class send_right : public counted_name {
 public:
  // Empty.
  send_right() = default;
  send_right(const send_right&) = default;
  send_right& operator=(const send_right& other) noexcept {
    if (this != &other) *this = send_right(other);
    return *this;
  }
  send_right(send_right&&) = default;
  send_right& operator=(send_right&&) = default;

  // Takes over one user reference of the caller. MACH_PORT_NULL and MACH_PORT_DEAD give an empty
  // right. Throws std::bad_alloc; the caller then still owns the reference.
  static send_right adopt(mach_port_name_t name, const place& where = place::current()) {
    return send_right(name, where);
  }

  // Takes over one count of the caller's (reference_counts.h) of a name of the current space.
  static send_right adopt_counted(mach_port_name_t name) noexcept {
    return MACH_PORT_VALID(name) ? send_right(space_incarnation(), name) : send_right();
  }

  // Makes a right of a name that another object or caller owns. MACH_PORT_NULL and MACH_PORT_DEAD
  // give an empty right. Throws std::bad_alloc, and std::system_error (kern_return_t) if the name
  // is neither a send right nor a dead name.
  static send_right another(mach_port_name_t name, const place& where = place::current());

  // Returns true if the port is dead now, or if the right is empty. died() waits for that. False in
  // another space than the right's own.
  bool dead() const noexcept;

 private:
  friend class dead_name;
  friend class destination;
  friend class receive_right;
  using counted_name::counted_name;
};

}  // namespace kedge::mach
