#include <chrono>

#include "benchmark.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_timeout.h"

using namespace std::chrono_literals;

namespace {

kedge::task<> sleep_below(int frames) {
  if (frames == 1) {
    co_await kedge::sleep_for(1h);
  } else {
    co_await sleep_below(frames - 1);
  }
}

// Ends at once, and costs next to nothing itself.
class ready_operation {
 public:
  ready_operation() noexcept {}
  ready_operation(const ready_operation&) = delete;
  ready_operation& operator=(const ready_operation&) = delete;
  bool await_ready() const noexcept { return true; }
  bool await_suspend(kedge::waiter&) const noexcept { return false; }
  bool await_cancel(kedge::cancel_cause) const noexcept { return true; }
  void await_resume() const noexcept {}
  void describe(kedge::description& line) const noexcept { line.print("nothing"); }
};
struct ready {
  ready_operation operator co_await() && noexcept { return ready_operation(); }
};

// A deadline of zero, so that no time passes.
kedge::task<> time_out(int frames, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    static_cast<void>(co_await kedge::with_timeout(0s, sleep_below(frames)));
  }
}

}  // namespace

kedge::task<> time_ready_leaves(kedge::loop&, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) (co_await kedge::with_timeout(1h, ready())).value();
}

kedge::task<> time_out_one_frame(kedge::loop&, std::uint64_t n) {
  co_await time_out(1, n);
}

kedge::task<> time_out_five_frames(kedge::loop&, std::uint64_t n) {
  co_await time_out(5, n);
}
