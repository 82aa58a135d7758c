// That a port is a member of a port set. Made and removed with both locks held; the port's lists
// guard it in the port, the set's in the set.
#pragma once

#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

class port;
class port_set;

struct membership {
  port* member = nullptr;
  // Null: the set was destroyed. Darwin's ports forget such sets late, and this is visible.
  port_set* set = nullptr;
  base::list_link<membership> in_port;
  base::list_link<membership> in_set;
  base::list_link<membership> ready;  // linked while the member has messages
};

}  // namespace kedge::mach::kernel
