#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/stall_probe.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::loop_counters;
using kedge::task;

TEST_CASE("a loop that has not been driven has counted nothing") {
  const loop l;
  const loop_counters c = l.counters();
  CHECK(c.turns == 0);
  CHECK(c.resumptions == 0);
  CHECK(c.waits == 0);
  CHECK(c.events == 0);
  CHECK(c.timers == 0);
  CHECK(c.posts == 0);
  CHECK(c.longest_turn == 0s);
}

TEST_CASE("turns, the waits of poll(), and resumptions are counted") {
  loop l;
  const auto body = []() -> task<> {
    for (int i = 0; i < 9; ++i) co_await kedge::yield();
  };
  l.spawn(body);
  l.poll();  // starts, and resumes nine times
  loop_counters c = l.counters();
  CHECK(c.turns == 1);
  CHECK(c.waits == 1);
  CHECK(c.resumptions >= 10);
  CHECK(c.resumptions <= 11);  // and the scope reaps it
  l.poll();
  c = l.counters();
  CHECK(c.turns == 2);
  CHECK(c.waits == 2);
  CHECK(c.resumptions == 11);
}

TEST_CASE("step() counts one resumption") {
  loop l;
  l.spawn(kedge::yield());
  const auto before = l.counters().resumptions;
  CHECK(l.step());
  CHECK(l.counters().resumptions == before + 1);
}

TEST_CASE("timers and posts are counted as they are taken") {
  kedge::virtual_time time;
  loop l(time);
  for (int i = 0; i < 3; ++i) l.spawn(kedge::sleep_for(1h));
  l.spawn(kedge::sleep_for(100h));
  const auto to = l.get_remote();
  for (int i = 0; i < 5; ++i) to.post([] {});
  CHECK(l.counters().posts == 0);
  l.poll();
  CHECK(l.counters().timers == 0);
  CHECK(l.counters().posts == 5);
  time.advance(2h);
  l.poll();
  CHECK(l.counters().timers == 3);
}

TEST_CASE("events are counted as the kernel reports them") {
  loop l;
  kedge::stream_pair p(l);
  std::array<std::byte, 1> b{};
  const auto read = [&]() -> task<> { CHECK(co_await p.b.read_some(b)); };
  l.spawn(read);
  l.poll();
  CHECK(l.counters().events == 0);
  CHECK(::write(p.a.native_handle(), "x", 1) == 1);
  while (l.size() != 0) l.run_once();
  CHECK(l.counters().events == 1);
}

TEST_CASE("the longest turn is measured while a probe is set") {
  loop l;
  kedge::stall_probe probe;
  const auto body = [&]() -> task<> {
    // Until the clock that the probe reads has moved.
    const auto begin = kedge::clock::now();
    while (kedge::clock::now() == begin) std::this_thread::yield();
    co_return;
  };
  l.run(body());
  CHECK(l.counters().longest_turn == 0s);
  l.set_probe(&probe);
  l.run(body());
  CHECK(l.counters().longest_turn > 0s);
  l.set_probe(nullptr);
  CHECK(l.counters().longest_turn == 0s);
}

}  // namespace
