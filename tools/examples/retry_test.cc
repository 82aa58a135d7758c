// retry_test: a test in virtual time. The code under test waits for minutes, and the test for
// nothing.
//
// The loop takes its time from the test, which moves it to the next deadline whenever nothing is
// left to run. Linux only: on Darwin the kernel follows no time but its own.
#include <atomic>
#include <chrono>
#include <cstdio>

#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;

// --- The code under test -----------------------------------------------------------------------

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

class test_time final : public kedge::time_source {
 public:
  kedge::clock::time_point now() const noexcept override { return time_.load(); }
  void move_to(kedge::clock::time_point t) noexcept {
    time_.store(t);
    moved();
  }

 private:
  std::atomic<kedge::clock::time_point> time_{};
};

struct report {
  bool succeeded;
  int attempts;
  std::chrono::seconds passed;
  bool operator==(const report&) const = default;
};

// Runs retry() against a peer that answers the attempt with the number `good`.
report retry_until(int good) {
  test_time time;
  const auto start = time.now();
  kedge::loop loop(time);
  int attempts = 0;
  bool succeeded = false;
  loop.spawn([&]() -> kedge::task<> {
    const auto attempt = [&] { return ++attempts == good; };
    succeeded = co_await retry(attempt);
  });
  while (loop.size() != 0) {
    if (!loop.poll()) time.move_to(loop.next_deadline().value());
  }
  return {succeeded, attempts,
          std::chrono::duration_cast<std::chrono::seconds>(time.now() - start)};
}

int main() {
  const bool at_once = retry_until(1) == report{true, 1, 0s};
  const bool later = retry_until(5) == report{true, 5, 15s};
  const bool never = retry_until(1000) == report{false, 9, 300s};
  std::printf("at once: %d, later: %d, never: %d\n", at_once, later, never);
  return at_once && later && never ? 0 : 1;
}
