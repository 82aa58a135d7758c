// Implements send_right with mach_port_mod_refs() and mach_port_type().
#include "kedge/mach/send_right.h"

#include "kedge/mach/error.h"
#include "kedge/mach/port_reference.h"

namespace kedge::mach {

send_right send_right::another(mach_port_name_t name, const place& where) {
  if (!MACH_PORT_VALID(name)) return {};
  const std::uint32_t space = space_incarnation();
  if (reference_counts::add(space, name)) return send_right(space, name);
  const auto add = [name](mach_port_right_t right) {
    return mach_port_mod_refs(mach_task_self(), name, right, 1);
  };
  kern_return_t code = add(MACH_PORT_RIGHT_SEND);
  // The port may have died. A dead name never becomes a send right again.
  if (code == KERN_INVALID_RIGHT) code = add(MACH_PORT_RIGHT_DEAD_NAME);
  check(code, "mach_port_mod_refs");
  return port_reference(name).to_send_right(where);
}

bool send_right::dead() const noexcept {
  if (!*this) return true;
  if (space() != space_incarnation()) return false;
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  return mach_port_type(mach_task_self(), name(), &type) == KERN_SUCCESS &&
         (type & MACH_PORT_TYPE_DEAD_NAME) != 0;
}

}  // namespace kedge::mach
