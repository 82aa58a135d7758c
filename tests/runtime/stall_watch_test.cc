#include "kedge/runtime/stall_watch.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <latch>
#include <limits>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <thread>

#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::clock;
using kedge::loop;
using kedge::stall;
using kedge::stall_probe;
using kedge::stall_watch;
using kedge::task;

constexpr clock::time_point start{};

TEST_CASE("a step that stands still for the limit is reported once, and again when it is over") {
  loop l;
  stall_probe probe;
  l.set_probe(&probe);
  std::optional<stall> early, first, second;
  unsigned spawned = 0, resumed = 0;
  const auto busy = [&]() -> task<> {
    resumed = __LINE__ + 1;
    co_await kedge::yield();
    CHECK_FALSE(probe.sample(100ms, start));  // a new step
    early = probe.sample(100ms, start + 99ms);
    first = probe.sample(100ms, start + 120ms);
    second = probe.sample(100ms, start + 250ms);
  };
  spawned = __LINE__ + 1;
  l.spawn(busy);
  while (l.size() != 0) l.poll();
  CHECK_FALSE(early);
  REQUIRE(first);
  CHECK(first->duration == 120ms);
  CHECK_FALSE(first->is_over);
  CHECK(first->task.line() == spawned);
  CHECK(first->place.line() == resumed);
  CHECK(std::string(first->place.file_name()).find("stall_watch_test.cc") != std::string::npos);
  CHECK_FALSE(second);
  const std::optional<stall> over = probe.sample(100ms, start + 300ms);
  REQUIRE(over);
  CHECK(over->duration == 300ms);
  CHECK(over->is_over);
  CHECK(over->task.line() == spawned);
  CHECK_FALSE(probe.sample(100ms, start + 1h));  // the loop is idle
  l.set_probe(nullptr);
}

TEST_CASE("a loop that is idle, or between drives, does not stall") {
  loop l;
  stall_probe probe;
  l.set_probe(&probe);
  l.poll();
  CHECK_FALSE(probe.sample(100ms, start));
  CHECK_FALSE(probe.sample(100ms, start + 1h));
  l.set_probe(nullptr);
}

TEST_CASE("posted work that keeps the loop is a stall without a task") {
  loop l;
  stall_probe probe;
  l.set_probe(&probe);
  std::optional<stall> found;
  l.get_remote().post([&] {
    CHECK_FALSE(probe.sample(100ms, start));
    found = probe.sample(100ms, start + 100ms);
  });
  l.poll();
  REQUIRE(found);
  CHECK(found->task.line() == 0);
  CHECK(found->place.line() == 0);
  l.set_probe(nullptr);
}

TEST_CASE("a task that resumes again and again does not stall") {
  loop l;
  stall_probe probe;
  l.set_probe(&probe);
  int found = 0;
  const auto body = [&]() -> task<> {
    for (int i = 0; i < 10; ++i) {
      co_await kedge::yield();
      if (probe.sample(100ms, start + i * 1h)) ++found;
    }
  };
  l.run(body());
  CHECK(found == 0);
  l.set_probe(nullptr);
}

// Waits for the report: the loop's thread blocks until the watch has said so.
TEST_CASE("the thread of a watch reports a task that blocks its loop, while it does") {
  loop l;
  std::latch reported(1), ended(1);
  std::atomic<unsigned> line = 0;
  std::atomic<bool> signals_blocked = false;
  const stall_watch watch(l, 1ms, [&](const stall& s) {
    if (s.task.line() == 0) return;  // of a slow machine's own making
    if (s.is_over) {
      if (line != 0) ended.count_down();
      return;
    }
    if (line.exchange(s.task.line()) == 0) reported.count_down();
    sigset_t blocked;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    signals_blocked = sigismember(&blocked, SIGINT) == 1;
  });
  const auto block = [&]() -> task<> {
    reported.wait();
    co_return;
  };
  const unsigned spawned = __LINE__ + 1;
  l.spawn(block);
  while (l.size() != 0) l.poll();
  ended.wait();
  CHECK(line == spawned);
  CHECK(signals_blocked);
}

TEST_CASE("a watch that is destroyed after a stall still reports that it is over") {
  for (int i = 0; i < 5; ++i) {
    loop l;
    std::latch reported(1);
    std::atomic<bool> was_reported = false, is_over = false;
    {
      const stall_watch watch(l, 8ms, [&](const stall& s) {
        if (s.task.line() == 0) return;  // of a slow machine's own making
        if (s.is_over) is_over = true;
        if (!was_reported.exchange(true)) reported.count_down();
      });
      l.spawn([&]() -> task<> {
        reported.wait();
        co_return;
      });
      while (l.size() != 0) l.poll();
    }
    CHECK(is_over);
  }
}

TEST_CASE("a watch that is destroyed stops, and another one may follow") {
  loop l;
  for (int i = 0; i < 20; ++i) {
    const stall_watch watch(l, 1h);
    l.poll();
  }
  int posts = 0;
  l.get_remote().post([&] { ++posts; });
  l.poll();
  CHECK(posts == 1);
}

TEST_CASE("a limit that is not positive, or not a number, and a second watch are refused") {
  loop l;
  CHECK_THROWS_AS(stall_watch(l, 0ms), std::invalid_argument);
  CHECK_THROWS_AS(stall_watch(l, -1s), std::invalid_argument);
  const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
  CHECK_THROWS_AS(stall_watch(l, nan), std::invalid_argument);
  const stall_watch watch(l, std::chrono::hours::max());
  CHECK_THROWS_WITH_AS(stall_watch(l, 1s), "kedge::stall_watch: the loop is watched already",
                       std::logic_error);
}

TEST_CASE("without a report of its own a watch prints one line") {
  const auto end = kedge::in_child_process([] {
    stall s;
    s.duration = 120ms;
    s.task = std::source_location::current();
    s.place = s.task;
    stall_watch::print(s);
    s.is_over = true;
    s.task = s.place = {};
    stall_watch::print(s);
  });
  CHECK(end.says("kedge: a task has kept its loop busy for 120 ms: from "));
  CHECK(end.says(", resumed at "));
  CHECK(end.says("kedge: posted work kept its loop busy for 120 ms\n"));
}

TEST_CASE("in a forked child a watch of the parent's is destroyed without its thread") {
  std::optional<loop> l(std::in_place);
  std::optional<stall_watch> watch(std::in_place, *l, 1h);
  CHECK(kedge::status_of_child([&] {
          watch.reset();
          l.reset();
          return 0;
        }) == 0);
}

}  // namespace
