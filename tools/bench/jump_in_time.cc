#include <chrono>

#include "benchmark.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/virtual_time.h"

namespace {

constexpr std::uint64_t sleepers = 100;

// Each deadline is that of one task.
kedge::task<> sleep_again(std::uint64_t times, std::chrono::nanoseconds period) {
  for (std::uint64_t i = 0; i < times; ++i) co_await kedge::sleep_for(period);
}

}  // namespace

void jump_in_time(std::uint64_t n) {
  kedge::virtual_time world;
  kedge::loop loop(world);
  for (std::uint64_t i = 0; i < sleepers; ++i) {
    loop.spawn(sleep_again, n / sleepers, std::chrono::nanoseconds(1'000'003 + 2 * i));
  }
  world.run();
}
