#include "benchmark.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"

namespace {

// Waits until it is cancelled, and costs next to nothing itself.
class endless_operation {
 public:
  endless_operation() noexcept {}
  endless_operation(const endless_operation&) = delete;
  endless_operation& operator=(const endless_operation&) = delete;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(kedge::waiter&) const noexcept { return true; }
  bool await_cancel(kedge::cancel_cause) const noexcept { return true; }
  void await_resume() const noexcept {}
  void describe(kedge::description& line) const noexcept { line.print("the other leaf"); }
};
struct endless {
  endless_operation operator co_await() && noexcept { return endless_operation(); }
};

}  // namespace

// One ends at its turn, and the other is cancelled.
kedge::task<> race_leaves(kedge::loop&, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    static_cast<void>(co_await kedge::when_any(kedge::yield(), endless()));
  }
}
