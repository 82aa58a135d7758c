#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "benchmark.h"
#include "interest_list.h"

void order_deadlines(std::uint64_t n) {
  using deadline = std::pair<std::uint64_t, std::uint64_t>;
  std::priority_queue<deadline, std::vector<deadline>, std::greater<>> heap;
  for (std::uint64_t i = 0; i < n; ++i) heap.emplace(i, i);
  while (!heap.empty()) heap.pop();
}

void arm_timers(std::uint64_t n) {
  const kqueue_list list;
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto hours = static_cast<std::intptr_t>(3600 * 24 + i);
    list.change(i, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_SECONDS, hours);
  }
}

// With timers of a millisecond, which expire while the others are added.
void fire_timers(std::uint64_t n) {
  kqueue_list list;
  for (std::uint64_t i = 0; i < n; ++i) {
    list.change(i, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 1000);
  }
  for (std::uint64_t fired = 0; fired < n;) fired += static_cast<std::uint64_t>(list.wait());
}
