#include <chrono>
#include <vector>

#include "benchmark.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

auto leaf() {
  return kedge::sleep_for(std::chrono::hours(1));
}
kedge::task<> task() {
  co_await leaf();
}

template <class Child>
kedge::task<> keep(Child child, std::uint64_t n, bool cancels) {
  co_await kedge::with_scope([child, n, cancels](kedge::scope& s) -> kedge::task<> {
    for (std::uint64_t i = 0; i < n; ++i) s.spawn(child);
    co_await kedge::yield();  // the children begin to sleep
    if (!cancels) co_await leaf();
    s.cancel();
  });
}

// Cancels n of most_children sleeping children, and leaves the others asleep for ever. So two runs
// differ in the cancellations alone.
template <class Child>
void cancel(Child child, std::uint64_t n) {
  static auto* const left = new std::vector<kedge::loop*>;
  kedge::loop& loop = *left->emplace_back(new kedge::loop);
  loop.spawn(keep(child, most_children - n, false));
  loop.run(keep(child, n, true));
}

}  // namespace

void cancel_tasks(std::uint64_t n) {
  cancel(task, n);
}
void cancel_leaves(std::uint64_t n) {
  cancel(leaf, n);
}
