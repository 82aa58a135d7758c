#include "kedge/runtime/sleep.h"

#include <doctest/doctest.h>

#include <vector>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::clock;
using kedge::loop;
using kedge::task;

task<> note_after(std::vector<int>& order, clock::time_point deadline, int n) {
  co_await kedge::sleep_until(deadline);
  order.push_back(n);
}

TEST_CASE("a sleep is never too short") {
  loop l;
  l.run([]() -> task<> {
    for (const auto d : {0us, 50us, 2000us}) {
      const auto start = clock::now();
      co_await kedge::sleep_for(d);
      CHECK(clock::now() - start >= d);
    }
    const auto deadline = clock::now() + 1ms;
    co_await kedge::sleep_until(deadline);
    CHECK(clock::now() >= deadline);
  }());
}

TEST_CASE("sleeps end by deadline, those with the same as they began") {
  loop l;
  std::vector<int> order;
  const auto soon = clock::now() + 5ms;
  l.spawn(note_after(order, soon + 1ms, 3));
  l.spawn(note_after(order, soon, 1));
  l.spawn(note_after(order, soon, 2));
  l.spawn(note_after(order, soon + 2ms, 4));
  while (l.size() != 0) l.run_once();
  CHECK(order == std::vector{1, 2, 3, 4});
}

TEST_CASE("a sleep that is over already lets the ready tasks go first") {
  loop l;
  std::vector<int> order;
  l.run(kedge::with_scope([&](kedge::scope& s) -> task<> {
    s.spawn([&]() -> task<> {
      order.push_back(1);
      co_return;
    });
    co_await kedge::sleep_for(-1h);
    order.push_back(2);
  }));
  CHECK(order == std::vector{1, 2});
}

TEST_CASE("a cancelled sleep leaves no timer, and does not wait") {
  loop l;
  int cancelled = 0;
  for (int i = 0; i < 100; ++i) {
    l.spawn([&]() -> task<> {
      try {
        co_await kedge::sleep_for(1000h);
      } catch (const kedge::cancelled& c) {
        CHECK(c.cause() == kedge::cancel_cause::requested);
        ++cancelled;
        throw;
      }
    });
  }
  l.run(kedge::sleep_for(1us));
  CHECK(l.timers().size() == 100);
  l.cancel();
  CHECK(l.timers().empty());
  while (l.size() != 0) l.poll();
  CHECK(cancelled == 100);
}

TEST_CASE("cancelled when the time has passed but before it went on, a sleep has ended as usual") {
  loop l;
  bool slept = false, next_threw = false;
  // The sleeper is queued behind the one that cancels: both deadlines pass together.
  const auto deadline = clock::now();
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_until(deadline);
    l.cancel();
  });
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_until(deadline);
    slept = true;
    try {
      co_await kedge::yield();
    } catch (const kedge::cancelled&) {
      next_threw = true;
      throw;
    }
  });
  while (l.size() != 0) l.run_once();
  CHECK(slept);
  CHECK(next_threw);
}

TEST_CASE("dropped unawaited, a sleep does nothing") {
  static_cast<void>(kedge::sleep_for(1h));
  loop l;
  {
    const auto kept = kedge::sleep_for(1h);
    static_cast<void>(kept);
  }
  CHECK(l.timers().empty());
}

TEST_CASE("destroyed while suspended, a sleep leaves no timer") {
  loop l;
  const auto deadline = clock::now();
  for (const bool expired : {false, true}) {
    loop inner;
    inner.spawn(kedge::sleep_until(expired ? deadline : deadline + 1000h));
    if (!expired) inner.poll();
  }
  CHECK(l.timers().empty());
}

}  // namespace
