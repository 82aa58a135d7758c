// kernel_clock: timers of the Mach kernel in virtual time.
#include "kedge/mach/kernel_clock.h"

#include <doctest/doctest.h>
#include <mach/mach_time.h>

#include <chrono>
#include <ostream>
#include <stdexcept>

#if __has_include(<mach/mk_timer.h>)
#include <mach/mk_timer.h>
#endif

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive.h"
#include "kedge/runtime/deadlock.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

const auto linux_only = doctest::skip(!kernel::has_many_tasks());

std::uint64_t after(std::chrono::nanoseconds d) {
  return mach_absolute_time() + static_cast<std::uint64_t>(d.count());
}

}  // namespace

TEST_CASE("the Mach kernel's time is that of the source, and its own again afterwards" *
          linux_only) {
  const std::uint64_t before = mach_absolute_time();
  virtual_time world;
  {
    const kernel_clock mach_time(world);
    const std::uint64_t start = mach_absolute_time();
    world.advance(1h);
    CHECK(after(0ns) - start == 3'600'000'000'000);
    CHECK_THROWS_AS(kernel_clock{world}, std::logic_error);
    world.advance(1h);
    CHECK(after(0ns) - start == 7'200'000'000'000);
  }
  CHECK(mach_absolute_time() >= before);
}

#if __has_include(<mach/mk_timer.h>)  // not public on Darwin
TEST_CASE("a timer's message arrives when a jump of the loops reaches its time") {
  virtual_time world;
  const kernel_clock mach_time(world);
  loop l(world);
  const auto start = world.now();
  const receive_right timer = receive_right::adopt(mk_timer_create());
  REQUIRE(mk_timer_arm(timer.name(), after(1min)) == KERN_SUCCESS);
  clock::duration received_at{};
  const auto waits = [&]() -> task<> {
    static_cast<void>((co_await timer.receive()).value());
    received_at = world.now() - start;
  };
  l.spawn(waits);
  l.spawn(sleep_for(59s));
  CHECK(world.run() == 1);
  CHECK(received_at == clock::duration::zero());
  l.spawn(sleep_for(1s));
  CHECK(world.run() == 0);
  CHECK(received_at == 1min);
}

TEST_CASE("run() waits for the message of a timer, to whose port the kernel has a send right") {
  const receive_right timer = receive_right::adopt(mk_timer_create());
  REQUIRE(mk_timer_arm(timer.name(), after(1ms)) == KERN_SUCCESS);
  loop l;
  CHECK(l.run(timer.receive()).has_value());
}
#endif

}  // namespace kedge::mach
