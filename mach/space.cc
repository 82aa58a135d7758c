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
  outer_.push_back(kernel::set_current_task(task_));
}

void space::leave() noexcept {
  kernel::set_current_task(outer_.back());
  outer_.pop_back();
}

mach_port_name_t space::give(send_right&& right) {
  if (!kernel::has_many_tasks()) return std::move(right).release();
  const send_right given = std::move(right);
  const send_right self = send_right::adopt(kernel::task_self_port(task_));
  // The kernel has no call that puts a right under a name of its own choice: a dead name has it
  // choose one, and makes way.
  mach_port_name_t name = MACH_PORT_NULL;
  check(mach_port_allocate(self.name(), MACH_PORT_RIGHT_DEAD_NAME, &name), "mach_port_allocate");
  check(mach_port_deallocate(self.name(), name), "mach_port_deallocate");
  check(mach_port_insert_right(self.name(), name, given.name(), MACH_MSG_TYPE_COPY_SEND),
        "mach_port_insert_right");
  return name;
}

}  // namespace kedge::mach
