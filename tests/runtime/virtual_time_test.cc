#include "kedge/runtime/virtual_time.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kedge/runtime/completion.h"
#include "kedge/runtime/deadlock.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/interval.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/reactor/stall_probe.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/time_hold.h"
#include "kedge/runtime/wall_clock.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_timeout.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;
using kedge::time_hold;
using kedge::virtual_time;

TEST_CASE("run() jumps to each deadline in turn, and returns when all tasks have ended") {
  virtual_time world;
  loop l(world);
  const auto start = world.now();
  std::vector<kedge::clock::duration> woken;
  const auto sleeper = [&](kedge::clock::duration d) -> task<> {
    co_await kedge::sleep_for(d);
    woken.push_back(world.now() - start);
    co_await kedge::sleep_for(24h);
    woken.push_back(world.now() - start);
  };
  l.spawn(sleeper, 3s);
  l.spawn(sleeper, 1ns);
  CHECK(world.run() == 0);
  CHECK(woken == std::vector<kedge::clock::duration>{1ns, 3s, 24h + 1ns, 24h + 3s});
  CHECK(l.size() == 0);
}

TEST_CASE("run() returns the number of tasks that wait for what never happens") {
  virtual_time world;
  loop a(world), b(world);
  kedge::event never;
  a.spawn(never.wait());
  b.spawn(never.wait());
  b.spawn(kedge::sleep_for(1h));
  b.spawn(kedge::sleep_for(kedge::clock::duration::max()));  // does not end before the time does
  CHECK(world.run() == 3);
  never.set();
  CHECK(world.run() == 1);
}

TEST_CASE("loops of one world are driven in the order in which they were made") {
  virtual_time world;
  loop a(world), b(world), c(world);
  std::string order;
  const auto log = [&](char name) -> task<> {
    for (int i = 0; i < 3; ++i) {
      co_await kedge::sleep_for(1s);
      order += name;
    }
  };
  c.spawn(log, 'c');
  b.spawn(log, 'b');
  a.spawn(log, 'a');
  CHECK(world.run() == 0);
  CHECK(order == "abcabcabc");
}

TEST_CASE("run_for() drives until the time has passed, timers at its end included") {
  virtual_time world;
  loop l(world);
  kedge::interval ticks(l, 10s);
  int count = 0;
  const auto ticking = [&]() -> task<> {
    while (co_await ticks.next()) ++count;
  };
  l.spawn(ticking);
  world.run_for(0s);
  const auto start = world.now();
  CHECK(world.run_for(30s) == 1);
  CHECK(count == 3);
  CHECK(world.now() - start == 30s);
  world.run_for(9s);
  CHECK(count == 3);
  world.run_for(1s);
  CHECK(count == 4);
}

TEST_CASE("advance() resumes nothing, and what was due in it is late") {
  virtual_time world;
  loop l(world);
  const auto start = world.now();
  std::vector<kedge::clock::duration> woken;
  const auto sleeper = [&](kedge::clock::duration d) -> task<> {
    co_await kedge::sleep_for(d);
    woken.push_back(world.now() - start);
  };
  l.spawn(sleeper, 1s);
  l.spawn(sleeper, 2s);
  world.run_for(0s);
  world.advance(1min);
  CHECK(woken.empty());
  CHECK(world.run() == 0);
  CHECK(woken == std::vector<kedge::clock::duration>{1min, 1min});
}

TEST_CASE("the time does not go back, and saturates") {
  virtual_time world;
  CHECK_THROWS_AS(world.advance(-1ns), std::invalid_argument);
  CHECK_THROWS_AS(world.run_for(-1ns), std::invalid_argument);
  CHECK_THROWS_AS(world.advance(std::chrono::duration<double>(std::nan(""))),
                  std::invalid_argument);
  world.advance(kedge::clock::duration::max());
  CHECK(world.now() == kedge::clock::time_point::max());
}

TEST_CASE("run() of a loop jumps, and drives the other loops of the world") {
  virtual_time world;
  loop client(world), server(world);
  const auto start = world.now();
  const std::array<int, 2> fds = kedge::socket_pair();
  kedge::descriptor to(client, fds[0], kedge::ownership::owned);
  kedge::descriptor from(server, fds[1], kedge::ownership::owned);
  const auto serve = [&]() -> task<> {
    std::array<std::byte, 8> buffer;
    while (auto n = co_await from.read_some(buffer)) {
      co_await kedge::sleep_for(1h);
      const auto written = co_await from.write_some(std::span(buffer).first(*n));
      CHECK(written);
    }
  };
  const auto ask = [&]() -> task<std::size_t> {
    std::array<std::byte, 8> buffer{};
    const auto written = co_await to.write_some(buffer);
    CHECK(written.value() == 8);
    const auto n = co_await kedge::with_timeout(2h, to.read_some(buffer));
    to.close();
    co_return n.value();
  };
  server.spawn(serve);
  CHECK(client.run(ask()) == 8);
  CHECK(world.now() - start == 1h);
  CHECK(world.run() == 0);
}

TEST_CASE("an event that the kernel has comes before a jump") {
  virtual_time world;
  loop l(world);
  kedge::stream_pair p(l);
  const auto start = world.now();
  bool came = false;
  const auto reads = [&]() -> task<> {
    std::array<std::byte, 8> buffer;
    for (int i = 0; i < 2; ++i) {
      const auto n = co_await kedge::with_timeout(1s, p.b.read_some(buffer));
      came = n.has_value();
    }
  };
  l.spawn(reads);
  const auto writes = [&]() -> task<> {
    co_await kedge::sleep_for(999ms);
    CHECK(::write(p.a.native_handle(), "x", 1) == 1);
  };
  l.spawn(writes);
  world.run_for(999ms);
  CHECK(came);
  CHECK(world.run() == 0);
  CHECK_FALSE(came);
  CHECK(world.now() - start == 999ms + 1s);
}

// How the loops of a world are driven.
enum class driver { world_with_one, world_with_two, loop_with_one, loop_with_two };
constexpr driver drivers[] = {driver::world_with_one, driver::world_with_two, driver::loop_with_one,
                              driver::loop_with_two};

void drive(virtual_time& world, loop& l, task<> t, driver how) {
  std::optional<loop> other;
  if (how == driver::world_with_two || how == driver::loop_with_two) {
    other.emplace(world);
    other->spawn(kedge::sleep_for(10h));
  }
  if (how == driver::loop_with_one || how == driver::loop_with_two) return l.run(std::move(t));
  l.spawn(std::move(t));
  CHECK(world.run() == 0);
}

TEST_CASE("the time does not jump while a function runs on another thread") {
  for (const driver how : drivers) {
    CAPTURE(static_cast<int>(how));
    virtual_time world;
    loop l(world);
    const auto start = world.now();
    const auto works = [&]() -> task<> {
      const auto fn = [&] { return world.now() - start; };
      const auto seen = co_await kedge::with_timeout(1ns, kedge::offload(fn));
      CHECK(seen.value() == 0ns);
      CHECK(world.now() == start);
      co_await kedge::sleep_for(1h);
    };
    drive(world, l, works(), how);
    CHECK(world.now() - start >= 1h);
  }
}

TEST_CASE("the hold of an offload() ends with it, although its result is not taken yet") {
  virtual_time world;
  loop l(world);
  const auto start = world.now();
  const auto works = [&]() -> task<> {
    const auto fn = [] { return 1; };
    co_await kedge::when_all(kedge::offload(fn), kedge::sleep_for(1h));
  };
  l.run(works());
  CHECK(world.now() - start == 1h);
}

TEST_CASE("the time does not jump while a child process lives") {
  for (const driver how : drivers) {
    CAPTURE(static_cast<int>(how));
    virtual_time world;
    loop l(world);
    const auto start = world.now();
    const auto waits = [&]() -> task<> {
      kedge::process p(l, {"true"});
      const auto status = co_await kedge::with_timeout(1ns, p.exited());
      CHECK(status.value().success());
      CHECK(world.now() == start);
      co_await kedge::sleep_for(1h);
    };
    drive(world, l, waits(), how);
    CHECK(world.now() - start >= 1h);
  }
}

TEST_CASE("the time does not jump while a program holds it for something outside") {
  for (const driver how : drivers) {
    CAPTURE(static_cast<int>(how));
    virtual_time world;
    loop l(world);
    kedge::stream_pair p(l);
    const auto start = world.now();
    std::thread outside;
    const auto waits = [&]() -> task<> {
      time_hold hold(l);
      outside = std::thread([fd = p.a.native_handle()] { CHECK(::write(fd, "x", 1) == 1); });
      std::array<std::byte, 8> buffer;
      const auto n = co_await kedge::with_timeout(1ns, p.b.read_some(buffer));
      CHECK(n.value() == 1);
      hold.release();
      const auto late = co_await kedge::with_timeout(1ns, p.b.read_some(buffer));
      CHECK_FALSE(late);
    };
    drive(world, l, waits(), how);
    outside.join();
    CHECK(world.now() > start);
  }
}

TEST_CASE("a hold that is moved or released holds once, and has no effect on another time") {
  virtual_time world;
  loop l(world);
  l.spawn(kedge::sleep_for(1h));
  {
    time_hold a(l), b;
    time_hold c(std::move(a));
    b = std::move(c);
    b.release();
    b.release();
  }
  CHECK(world.run() == 0);
  loop real;
  const time_hold none(real);
  CHECK(real.follows() == nullptr);
}

TEST_CASE("the wall clock moves with the time, and can be stepped") {
  using wall = std::chrono::system_clock;
  virtual_time world;
  loop l(world);
  const wall::time_point first = world.wall_now();
  CHECK(first == wall::time_point(std::chrono::sys_days(std::chrono::year(2000) / 1 / 1)));
  const auto start = world.now();
  l.run(kedge::sleep_until(first + 24h));
  CHECK(world.now() - start == 24h);
  CHECK(world.wall_now() == first + 24h);
  world.step_wall(-1h);
  CHECK(world.wall_now() == first + 23h);
  const auto stepper = [&]() -> task<> {
    co_await kedge::sleep_for(1min);
    world.step_wall(24h);
  };
  l.spawn(stepper);
  l.run(kedge::sleep_until(first + 47h));
  CHECK(world.now() - start < 24h + 2min);
  CHECK(world.wall_now() >= first + 47h);
}

TEST_CASE("run() throws the failure of a task, and goes on when it is called again") {
  virtual_time world;
  loop a(world), b(world);
  const auto fails = []() -> task<> {
    co_await kedge::sleep_for(1s);
    throw std::runtime_error("it");
  };
  a.spawn(fails);
  b.spawn(kedge::sleep_for(1h));
  CHECK_THROWS_WITH_AS(world.run(), "it", std::runtime_error);
  CHECK(world.run() == 0);
}

TEST_CASE("run() of a loop throws the failure of another loop's task, and both can go on") {
  virtual_time world;
  loop a(world), b(world);
  const auto start = world.now();
  b.spawn([]() -> task<> {
    co_await kedge::sleep_for(1s);
    throw std::runtime_error("of b");
  });
  a.spawn(kedge::sleep_for(1h));
  CHECK_THROWS_WITH_AS(a.run(kedge::sleep_for(2s)), "of b", std::runtime_error);
  CHECK(world.now() - start == 1s);
  b.spawn(kedge::sleep_for(2h));
  CHECK(world.run() == 0);
  CHECK(world.now() - start == 2h + 1s);
}

TEST_CASE("the time stands still from one function on another thread to the next") {
  virtual_time world;
  loop driven(world), other(world);
  const auto start = world.now();
  other.spawn([&]() -> task<> {
    const auto fn = [] {};
    for (int i = 0; i < 20; ++i) co_await kedge::offload(fn);
    CHECK(world.now() == start);
  });
  driven.run(kedge::sleep_for(1ns));
  CHECK(other.size() == 0);
}

TEST_CASE("a sleep that is over when it begins moves no time") {
  virtual_time world;
  loop a(world), b(world);
  const auto start = world.now();
  const auto sleeps = [&]() -> task<> {
    co_await kedge::sleep_until(start - 1h);
    for (int i = 0; i < 100; ++i) co_await kedge::sleep_for(0s);
    co_await kedge::sleep_for(-1s);
  };
  a.spawn(sleeps);
  b.spawn(sleeps);
  CHECK(world.run() == 0);
  CHECK(world.now() == start);
}

TEST_CASE("a task cannot drive its own world") {
  virtual_time world;
  loop l(world);
  const auto drives = [&]() -> task<> {
    CHECK_THROWS_AS(world.run(), std::logic_error);
    co_return;
  };
  l.run(drives());
}

TEST_CASE("tasks may make and destroy other loops of the world") {
  virtual_time world;
  loop l(world);
  bool ran = false;
  const auto makes = [&]() -> task<> {
    {
      loop inner(world);
      const auto body = [&]() -> task<> {
        co_await kedge::sleep_for(1h);
        ran = true;
      };
      inner.spawn(body);
      co_await kedge::sleep_for(2h);
      CHECK(ran);
    }
    co_await kedge::sleep_for(1h);
  };
  l.spawn(makes);
  CHECK(world.run() == 0);
}

TEST_CASE("work that another loop of the world posts is taken before a jump") {
  virtual_time world;
  loop a(world), b(world);
  const auto start = world.now();
  kedge::completion<int> answer;
  const auto asks = [&]() -> task<> {
    const auto value = co_await kedge::with_timeout(1s, answer.wait());
    CHECK(value.value() == 7);
  };
  const auto gives = [](kedge::completer<int> to) -> task<> {
    co_await kedge::sleep_for(1s - 1ns);
    to.complete(7);
  };
  a.spawn(asks);
  b.spawn(gives, answer.get_completer());
  CHECK(world.run() == 0);
  CHECK(world.now() - start == 1s - 1ns);
}

TEST_CASE("run() of a loop waits for what comes from outside to another loop of the world") {
  virtual_time world;
  loop waits(world), other(world);
  kedge::stream_pair p(other);
  kedge::event passed_on;
  const auto passes_on = [&]() -> task<> {
    std::array<std::byte, 8> buffer;
    CHECK((co_await p.b.read_some(buffer)).value() == 1);
    passed_on.set();
  };
  other.spawn(passes_on);
  world.run_for(0s);
  // The program holds nothing, and no deadline is left.
  std::thread outside([fd = p.a.native_handle()] { CHECK(::write(fd, "x", 1) == 1); });
  CHECK(waits.run(passed_on.wait()));
  outside.join();
  kedge::event never;
  CHECK_THROWS_AS(static_cast<void>(waits.run(never.wait())), kedge::deadlock);
}

TEST_CASE("run() of a loop waits for what another thread posts to another loop of the world") {
  virtual_time world;
  loop waits(world), other(world);
  kedge::event passed_on;
  std::thread outside(
      [to = other.get_remote(), &passed_on]() mutable { to.post([&] { passed_on.set(); }); });
  CHECK(waits.run(passed_on.wait()));
  outside.join();
  kedge::event never;
  CHECK_THROWS_AS(static_cast<void>(waits.run(never.wait())), kedge::deadlock);
}

TEST_CASE("a drive by the world takes what has made a polled handle readable") {
  virtual_time world;
  loop polled(world), other(world);
  pollfd handle{polled.native_handle(), POLLIN, 0};
  world.run();
  CHECK(::poll(&handle, 1, 0) == 0);
  bool ran = false;
  polled.get_remote().post([&] { ran = true; });
  CHECK(::poll(&handle, 1, 0) == 1);
  world.run();
  CHECK(ran);
  CHECK(::poll(&handle, 1, 0) == 0);  // else a wait for all handles would spin
}

TEST_CASE("a stall in a virtual time is a stall") {
  virtual_time world;
  loop l(world);
  kedge::stall_probe probe;
  l.set_probe(&probe);
  bool is_found = false;
  const auto stalls = [&]() -> task<> {
    co_await kedge::sleep_for(1h);
    static_cast<void>(probe.sample(1ms, {}));
    is_found = probe.sample(1ms, kedge::clock::time_point(1s)).has_value();
  };
  l.spawn(stalls);
  CHECK(world.run() == 0);
  CHECK(is_found);
  l.set_probe(nullptr);
}

TEST_CASE("a host that polls a loop's handle is woken by a jump") {
  virtual_time world;
  loop polled(world);
  polled.spawn(kedge::sleep_for(1s));
  polled.poll();
  pollfd handle{polled.native_handle(), POLLIN, 0};
  while (::poll(&handle, 1, 0) != 0) polled.poll();
  world.advance(1s);
  CHECK(::poll(&handle, 1, 0) == 1);
  CHECK(world.run() == 0);
}

}  // namespace
