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
  // A port to carry it: made in the space, with a send right put here by the kernel.
  const send_right self = send_right::adopt(kernel::task_self_port(task_));
  mach_port_name_t carrier = MACH_PORT_NULL;
  check(mach_port_allocate(self.name(), MACH_PORT_RIGHT_DEAD_NAME, &carrier), "mach_port_allocate");
  // The kernel has no call that picks a free name for a right that is put into another space: the
  // dead name has picked it, and makes way.
  check(mach_port_deallocate(self.name(), carrier), "mach_port_deallocate");
  check(mach_port_insert_right(self.name(), carrier, right.name(), MACH_MSG_TYPE_COPY_SEND),
        "mach_port_insert_right");
  return carrier;
}

}  // namespace kedge::mach
