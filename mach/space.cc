// Implements space with the kernel's extension for several tasks in one process.
#include "kedge/mach/space.h"

#include "kedge/mach/error.h"

namespace kedge::mach {

space::space() : task_(kernel::create_task()) {
  outer_.reserve(8);
}

space::~space() {
  kernel::terminate_task(task_);
}

void space::enter() noexcept {
  outer_.push_back({kernel::set_current_task(task_), make_current(this)});
}

void space::leave() noexcept {
  kernel::set_current_task(outer_.back().task);
  make_current(outer_.back().hook);
  outer_.pop_back();
}

mach_port_name_t space::give(send_right&& right) {
  if (!kernel::has_many_tasks()) return std::move(right).release();
  const send_right moved = std::move(right);
  const send_right self = send_right::adopt(kernel::task_self_port(task_));
  // mach_port_insert_right needs a free name. Allocating a dead name makes the kernel choose one,
  // and deallocating it frees that name.
  mach_port_name_t name = MACH_PORT_NULL;
  check(mach_port_allocate(self.name(), MACH_PORT_RIGHT_DEAD_NAME, &name), "mach_port_allocate");
  check(mach_port_deallocate(self.name(), name), "mach_port_deallocate");
  check(mach_port_insert_right(self.name(), name, moved.name(), MACH_MSG_TYPE_COPY_SEND),
        "mach_port_insert_right");
  return name;
}

}  // namespace kedge::mach
