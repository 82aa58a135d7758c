// Implements space with the kernel's extension for several tasks in one process.
#include "kedge/mach/space.h"

#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

namespace {

// What was current before each enter() of the calling thread.
struct outer {
  kernel::task task;
  drive_hook* hook;
};
thread_local std::vector<outer> entered;

}  // namespace

space::space() : task_(kernel::create_task()) {}

space::~space() {
  kernel::terminate_task(task_);
  if (kernel::has_many_tasks()) ledger::report_end(space_incarnation_of(task_));
}

void space::enter() noexcept {
  entered.push_back({kernel::set_current_task(task_), make_current(this)});
}

void space::leave() noexcept {
  kernel::set_current_task(entered.back().task);
  make_current(entered.back().hook);
  entered.pop_back();
}

mach_port_name_t space::give(send_right&& right) {
  const send_right moved = std::move(right);
  mach_port_name_t name = MACH_PORT_NULL;
  check(kernel::place_right(task_, moved.name(), &name), "kedge::mach::space::give");
  return name;
}

}  // namespace kedge::mach
