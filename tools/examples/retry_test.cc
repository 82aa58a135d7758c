// retry_test: a test in virtual time. The code under test waits for minutes, and the test for
// nothing.
//
// The loop takes its time from a virtual_time, which jumps to the next deadline whenever nothing is
// left to run. Linux only: on Darwin the kernel follows no time but its own.
#include <chrono>
#include <cstdio>

#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;

// --- The code under test: it knows nothing of virtual time ---------------------------------------

// Calls `attempt` until it succeeds, after 1, 2, 4 ... seconds, for five minutes at most. Returns
// whether it has succeeded.
template <class Attempt>
kedge::task<bool> retry(Attempt attempt) {
  const auto attempts = [&]() -> kedge::task<> {
    for (auto delay = 1s; !attempt(); delay *= 2) co_await kedge::sleep_for(delay);
  };
  const auto end = co_await kedge::with_timeout(5min, attempts);
  co_return end.has_value();
}

// --- Its test ----------------------------------------------------------------------------------

struct report {
  bool succeeded;
  int attempts;
  kedge::clock::duration passed;
  bool operator==(const report&) const = default;
};

// Runs retry() against a peer that answers the attempt with the number `good`.
report retry_until(int good) {
  kedge::virtual_time world;
  kedge::loop loop(world);
  const auto start = world.now();
  int attempts = 0;
  const auto attempt = [&] { return ++attempts == good; };
  const bool succeeded = loop.run(retry(attempt));
  return {succeeded, attempts, world.now() - start};
}

int main() {
  const bool at_once = retry_until(1) == report{true, 1, 0s};
  const bool later = retry_until(5) == report{true, 5, 15s};
  const bool never = retry_until(1000) == report{false, 9, 300s};
  std::printf("at once: %d, later: %d, never: %d\n", at_once, later, never);
  return at_once && later && never ? 0 : 1;
}
