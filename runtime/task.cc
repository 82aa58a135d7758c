// task: what ends the program.
#include "kedge/runtime/task.h"

namespace kedge {

void task_detail::promise_base::raise() {
  std::rethrow_exception(std::exchange(failure_, nullptr));
}

void stop_empty(const waiter& w) noexcept {
  description line;
  line.print("awaits a task that was awaited before or moved from: ");
  w.describe(line);
  stop(w.owner_context(), line.text());
}

}  // namespace kedge
