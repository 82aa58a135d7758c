// port_set: receive rights that are received from as one. received::arrived_on() tells which.
//
// The set does not own its members; one that is destroyed or moved into a message leaves it. A
// member can be in several sets, and can be received from by itself too.
#pragma once

#include <mach/mach.h>

#include "kedge/mach/receive_right.h"

namespace kedge::mach {

class port_set {
 public:
  // Empty: no set at all.
  port_set() = default;
  // A set without members. Throws std::system_error or std::bad_alloc.
  static port_set make();
  // Takes over a port set. MACH_PORT_NULL and MACH_PORT_DEAD give an empty one. Throws
  // std::bad_alloc; then it is the caller's still.
  static port_set adopt(mach_port_name_t name);

  port_set(port_set&& other) noexcept;
  port_set& operator=(port_set&& other) noexcept;
  ~port_set() { destroy(); }

  explicit operator bool() const noexcept { return source_ != nullptr; }
  // Lends the name; MACH_PORT_NULL if empty.
  mach_port_name_t name() const noexcept;
  // Gives the set up to the caller. Whoever awaits it gets errc::closed.
  mach_port_name_t release() && noexcept;
  // Destroys the set; its members live on.
  void destroy() noexcept;

  // Throw std::system_error: KERN_ALREADY_IN_SET, KERN_NOT_IN_SET.
  void insert(const receive_right& member);
  void remove(const receive_right& member);

  // As receive_right::receive().
  receive_awaitable receive() const noexcept;

 private:
  port_source* source_ = nullptr;
};

}  // namespace kedge::mach
