#include "kedge/runtime/wall_clock.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "drain.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::sleep_until;
using kedge::task;
using kedge::virtual_time;
using wall = std::chrono::system_clock;

constexpr std::chrono::nanoseconds between_looks{1 << 30};

// A task that sleeps until a time of the wall clock.
struct sleeper {
  explicit sleeper(wall::duration d) : deadline(time.wall_now() + d) {
    l.spawn([this]() -> task<> {
      co_await sleep_until(deadline);
      CHECK(time.wall_now() >= deadline);
      is_awake = true;
    });
    settle(l);
  }
  bool is_awake_after(kedge::clock::duration d) {
    time.advance(d);
    settle(l);
    return is_awake;
  }

  virtual_time time;
  wall::time_point deadline;
  bool is_awake = false;
  loop l{time};
};

TEST_CASE("a sleep until a wall time ends when the clock shows it, not before") {
  sleeper s(100ms);
  CHECK_FALSE(s.is_awake_after(99ms));
  CHECK(s.is_awake_after(1ms));
}

TEST_CASE("a sleep of hours looks at the wall clock every 2^30 ns, and ends in time") {
  sleeper s(5s);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(s.is_awake_after(1s));
  CHECK_FALSE(s.is_awake_after(1s - 1us));
  CHECK(s.is_awake_after(1us));
}

TEST_CASE("a wall clock that is set forward past the deadline ends the sleep at the next look") {
  sleeper s(24h);
  s.time.step_wall(25h);
  settle(s.l);
  CHECK_FALSE(s.is_awake);
  CHECK(s.is_awake_after(between_looks));
}

TEST_CASE("a wall clock that is set back makes the sleep longer") {
  sleeper s(1s);
  s.time.step_wall(-1h);
  CHECK_FALSE(s.is_awake_after(1s));
  for (int i = 0; i < 3599; ++i) CHECK_FALSE(s.is_awake_after(1s));
  CHECK(s.is_awake_after(1s));
}

TEST_CASE("sleeps until distant wall times look at the clock at the same moment") {
  virtual_time time;
  loop l(time);
  for (int i = 0; i < 3; ++i) {
    l.spawn(sleep_until(time.wall_now() + 1h * (i + 1)));
    settle(l);
    time.advance(1ms);
  }
  const auto first = l.timers().earliest();
  time.advance(first - time.now() - 1ns);
  settle(l);
  CHECK(l.timers().earliest() == first);
  time.advance(1ns);
  settle(l);
  CHECK(l.timers().size() == 3);
  CHECK(l.timers().earliest() == first + between_looks);
}

TEST_CASE("a wall time that has passed lets the ready tasks run first") {
  virtual_time time;
  loop l(time);
  std::string out;
  l.spawn([&]() -> task<> {
    co_await sleep_until(wall::time_point::min());
    out += 's';
  });
  l.spawn([&]() -> task<> {
    co_await kedge::yield();
    out += 'y';
  });
  settle(l);
  CHECK(out == "ys");
}

TEST_CASE("a wall time may be of any resolution: too far away it is never, and NaN is refused") {
  using days = std::chrono::duration<double, std::ratio<86400>>;
  CHECK_THROWS_AS(
      static_cast<void>(sleep_until(std::chrono::time_point<wall, days>(days(std::nan(""))))),
      std::invalid_argument);
  virtual_time time;
  loop l(time);
  l.spawn(sleep_until(std::chrono::time_point<wall, days>(days(1e30))));
  settle(l);
  time.advance(100h);
  settle(l);
  CHECK(l.size() == 1);
}

TEST_CASE("a sleep until a wall time that is cancelled or destroyed leaves no timer") {
  sleeper s(1h);
  s.l.cancel();
  settle(s.l);
  CHECK(s.l.size() == 0);
  CHECK(s.l.timers().empty());
  const sleeper dropped(1h);
}

TEST_CASE("dump() tells how long the wall clock has to go") {
  sleeper s(1h);
  std::ostringstream text;
  s.l.dump(text);
  CHECK(text.str().find("the wall clock, in 3600.000 s") != std::string::npos);
}

}  // namespace
