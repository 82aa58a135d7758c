#include <chrono>

#include "benchmark.h"
#include "kedge/runtime/sleep.h"

// Sleeps of zero, so that no time passes.
kedge::task<> fire_sleeps(kedge::loop&, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) co_await kedge::sleep_for(std::chrono::seconds(0));
}
