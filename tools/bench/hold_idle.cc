#include <chrono>
#include <vector>

#include "benchmark.h"
#include "descriptor_pool.h"
#include "heap_frames.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_timeout.h"

namespace {

kedge::task<> sleeper() {
  co_await kedge::sleep_for(std::chrono::hours(1));
}

}  // namespace

void hold_sleepers(std::uint64_t n) {
  const heap_frames frames;
  kedge::loop loop;
  count_turns(loop);
  for (std::uint64_t i = 0; i < n; ++i) loop.spawn(sleeper);
  while (loop.poll()) continue;
}

// Each of them has been awaited once.
kedge::task<> hold_descriptors(kedge::loop& loop, std::uint64_t n) {
  std::vector<kedge::descriptor> held;
  held.reserve(n);
  std::byte buffer[1];
  for (const int fd : descriptors(n, 0)) {
    held.emplace_back(loop, fd, kedge::ownership::borrowed);
    static_cast<void>(
        co_await kedge::with_timeout(std::chrono::seconds(0), held.back().read_some(buffer)));
  }
}
