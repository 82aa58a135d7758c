// Implements space with the kernel's extension for several tasks in one process.
#include "kedge/mach/space.h"

#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/port_reference.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/base/process_state.h"

namespace kedge::mach {

namespace {

// What was current before each enter() of the calling thread.
struct outer {
  kernel::task task;
  drive_hook* hook;
};
struct enters {
  std::vector<outer> all;
};
thread_local enters entered;
const base::process_state entered_of_process([] { return static_cast<void*>(&entered); },
                                             sizeof entered);

}  // namespace

space::space() : task_(kernel::create_task()) {}

space::~space() {
  kernel::terminate_task(task_);
  if (kernel::has_many_tasks()) ledger::report_end(space_incarnation_of(task_));
}

void space::enter() noexcept {
  entered.all.push_back({kernel::set_current_task(task_), make_current(this)});
}

void space::leave() noexcept {
  kernel::set_current_task(entered.all.back().task);
  make_current(entered.all.back().hook);
  entered.all.pop_back();
}

mach_port_name_t space::give(send_right&& right) {
  const send_right moved = std::move(right);
  mach_port_name_t name = MACH_PORT_NULL;
  check(kernel::place_right(task_, moved.name(), &name), "kedge::mach::space::give");
  return name;
}

mach_port_name_t space::give(receive_right&& right) {
  const kernel::task from = kernel::task_of_thread();
  const mach_port_name_t name = std::move(right).release();
  mach_port_t given = MACH_PORT_NULL;
  mach_msg_type_name_t kind = 0;
  kern_return_t code = KERN_SUCCESS;
  {
    const kernel::current_task_guard within(task_);
    const port_reference giver(kernel::task_self_port(from));
    code = mach_port_extract_right(giver.name(), name, MACH_MSG_TYPE_MOVE_RECEIVE, &given, &kind);
  }
  if (code != KERN_SUCCESS && code != KERN_NO_SPACE && code != KERN_RESOURCE_SHORTAGE) {
    // It was not taken out of its space.
    mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_RECEIVE, -1);
  }
  check(code, "kedge::mach::space::give");
  return given;
}

receive_right space::take_receive(mach_port_name_t name, const place& where) {
  const port_reference self(kernel::task_self_port(task_));
  return receive_right::extract(self.name(), name, where);
}

}  // namespace kedge::mach
