#include <vector>

#include "benchmark.h"
#include "mach_port.h"
#include "pinned_thread.h"

namespace {

// Sends n messages in all. Each pair of threads has a core to itself: without contention two pairs
// take the same CPU time per message as one, and half the time by the clock.
void stream(std::uint64_t n, unsigned pairs) {
  const std::uint64_t share = n / pairs;
  std::vector<mach_port> ports(pairs);
  std::vector<std::thread> threads;
  for (unsigned pair = 0; pair < pairs; ++pair) {
    mach_port& port = ports[pair];
    threads.push_back(pinned_thread(pair, [&port, share] {
      for (std::uint64_t i = 0; i < share; ++i) port.send();
    }));
    threads.push_back(pinned_thread(pair, [&port, share] {
      for (std::uint64_t i = 0; i < share; ++i) port.receive();
    }));
  }
  for (std::thread& each : threads) each.join();
}

}  // namespace

void stream_one(std::uint64_t n) {
  stream(n, 1);
}

void stream_two(std::uint64_t n) {
  stream(n, 2);
}
