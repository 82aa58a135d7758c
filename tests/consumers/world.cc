// A test in virtual time, without a framework: a process that sleeps for a day.
#include <chrono>
#include <cstdio>

#include "kedge/runtime/runtime.h"
#include "kedge/tools/harness/explore.h"

using namespace std::chrono_literals;

int main() {
  unsigned runs = 0;
  kedge::harness::explore([&](kedge::harness::world& w) {
    auto& sleeper = w.start("sleeper", [] {
      kedge::loop loop;
      loop.run(kedge::sleep_for(24h));
      return 7;
    });
    w.run();
    if (sleeper.status() == 7 && w.time() == 24h) ++runs;
  });
  std::printf("world: %u runs of a day\n", runs);
  return runs == 200 ? 0 : 1;
}
