// dead_name: a name whose port has died. As long as a reference exists, the kernel does not reuse
// the name for another right.
#pragma once

#include <utility>

#include "kedge/mach/counted_name.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class dead_name : public counted_name {
 public:
  // Empty.
  dead_name() = default;
  dead_name(dead_name&&) = default;
  dead_name& operator=(dead_name&&) = default;

  // Takes over one user reference of the caller. MACH_PORT_NULL and MACH_PORT_DEAD give an empty
  // object. Throws std::bad_alloc; the caller then still owns the reference.
  static dead_name adopt(mach_port_name_t name, const place& where = place::current()) {
    return dead_name(name, where);
  }

  // Takes over the reference of `right` if its port has died. Else returns an empty object and
  // leaves `right` unchanged.
  static dead_name of(send_right&& right) noexcept {
    if (!right || !right.dead()) return {};
    const std::uint32_t space = right.space();
    return dead_name(space, right.release_count());
  }

 private:
  using counted_name::counted_name;
};

}  // namespace kedge::mach
