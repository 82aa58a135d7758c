#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <vector>

#include "benchmark.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_scope.h"

namespace {

kedge::task<> note_lateness(kedge::clock::time_point due, std::vector<double>& late) {
  co_await kedge::sleep_until(due);
  late.push_back(std::chrono::duration<double, std::micro>(kedge::clock::now() - due).count());
}

}  // namespace

// Returns, in microseconds, the 99th percentile by which n tasks are late that sleep to random
// times within one second. All of them sleep before the first is due.
double lateness_of_sleepers(std::uint64_t n) {
  constexpr auto lead = std::chrono::seconds(5);
  constexpr std::uint64_t second = 1'000'000'000;
  std::mt19937_64 random(1);
  std::vector<double> late;
  late.reserve(n);
  kedge::loop loop;
  const auto body = [&](kedge::scope& s) -> kedge::task<> {
    const kedge::clock::time_point first = kedge::clock::now() + lead;
    for (std::uint64_t i = 0; i < n; ++i) {
      s.spawn(note_lateness, first + std::chrono::nanoseconds(random() % second), std::ref(late));
    }
    co_return;
  };
  loop.run(kedge::with_scope(body));
  const auto at = late.begin() + static_cast<std::ptrdiff_t>(n * 99 / 100);
  std::nth_element(late.begin(), at, late.end());
  return *at;
}
