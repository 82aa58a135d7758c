// task: what ends the program.
#include "kedge/runtime/task.h"

#include <cstdio>

namespace kedge {

void task_detail::promise_base::raise() {
  std::rethrow_exception(std::exchange(failure_, nullptr));
}

void stop_empty(const waiter& w) noexcept {
  description line;
  w.describe(line);
  std::fprintf(stderr, "kedge: awaits a task that was awaited before or moved from: %s\n",
               line.text());
  std::terminate();
}

}  // namespace kedge
