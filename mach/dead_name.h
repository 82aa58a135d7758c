// dead_name: one user reference to a name whose port has died. The name is not used for another
// right as long as somebody holds one.
#pragma once

#include "kedge/mach/name_reference.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class dead_name : public name_reference {
 public:
  // Empty.
  dead_name() = default;

  // Takes over one user reference that the caller has.
  static dead_name adopt(mach_port_name_t name) noexcept { return dead_name(name); }

  // What is left of a send right whose port has died; empty, and `right` as it was, if it has not.
  static dead_name of(send_right&& right) noexcept {
    return right.dead() ? dead_name(std::move(right).release()) : dead_name();
  }

 private:
  using name_reference::name_reference;
};

}  // namespace kedge::mach
