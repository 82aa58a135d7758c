// dead_name: one user reference to a name whose port has died. As long as a reference exists, the
// kernel does not reuse the name for another right.
#pragma once

#include "kedge/mach/name_reference.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class dead_name : public name_reference {
 public:
  // Empty.
  dead_name() = default;

  // Takes over one user reference of the caller. MACH_PORT_NULL and MACH_PORT_DEAD give an empty
  // object.
  static dead_name adopt(mach_port_name_t name) noexcept { return dead_name(name); }

  // Takes over the reference of `right` if its port has died. Else returns an empty object and
  // leaves `right` unchanged.
  static dead_name of(send_right&& right) noexcept {
    return right.dead() ? dead_name(std::move(right).release()) : dead_name();
  }

 private:
  using name_reference::name_reference;
};

}  // namespace kedge::mach
