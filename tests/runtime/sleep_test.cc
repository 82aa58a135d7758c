#include "kedge/runtime/sleep.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::clock;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;

task<> note_after(std::vector<int>& order, clock::time_point deadline, int n) {
  co_await kedge::sleep_until(deadline);
  order.push_back(n);
}

TEST_CASE("a sleep takes at least its duration") {
  loop l;
  l.run([]() -> task<> {
    for (const auto d : {0us, 50us, 2000us}) {
      CAPTURE(d.count());
      const auto start = clock::now();
      co_await kedge::sleep_for(d);
      CHECK(clock::now() - start >= d);
    }
    const auto deadline = clock::now() + 1ms;
    co_await kedge::sleep_until(deadline);
    CHECK(clock::now() >= deadline);
  }());
}

TEST_CASE("sleeps end by deadline, those with the same deadline in the order in which they began") {
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

TEST_CASE("a sleep of a negative duration lets the ready tasks run first") {
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

TEST_CASE("a cancelled sleep disarms its timer, and its task ends at its next turn") {
  virtual_time time;
  loop l(time);
  std::string out;
  for (int i = 0; i < 100; ++i) {
    l.spawn([&]() -> task<> {
      kedge::mark end(out, 'c');
      co_await kedge::sleep_for(1000h);
      end.letter = 'v';
    });
  }
  l.run(kedge::sleep_for(1us));
  CHECK(l.timers().size() == 100);
  l.cancel();
  CHECK(l.timers().empty());
  CHECK(out.empty());
  while (l.size() != 0) l.poll();
  CHECK(out == std::string(100, 'c'));
}

TEST_CASE(
    "a sleep that expired before the cancellation ends as usual, and the next wait ends the task") {
  loop l;
  bool slept = false, went_on = false;
  // Both deadlines pass together, and the sleeper is queued behind the task that cancels.
  const auto deadline = clock::now();
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_until(deadline);
    l.cancel();
  });
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_until(deadline);
    slept = true;
    co_await kedge::yield();
    went_on = true;
  });
  while (l.size() != 0) l.run_once();
  CHECK(slept);
  CHECK_FALSE(went_on);
}

TEST_CASE("a sleep that is dropped unawaited arms no timer") {
  static_cast<void>(kedge::sleep_for(1h));
  loop l;
  {
    const auto kept = kedge::sleep_for(1h);
    static_cast<void>(kept);
  }
  CHECK(l.timers().empty());
}

TEST_CASE(
    "a sleep that is destroyed while suspended or expired leaves neither timer nor ready task") {
  struct : kedge::branch_owner {
    kedge::waiter* branch_done(kedge::branch_base&) noexcept override {
      FAIL_CHECK("the sleep has ended");
      return nullptr;
    }
    const char* branch_name() const noexcept override { return "test"; }
  } holder;
  for (const bool expired : {false, true}) {
    CAPTURE(expired);
    loop l;
    std::optional<kedge::branch<kedge::sleep_operation<clock::time_point>>> sleeping;
    sleeping.emplace(kedge::sleep_until(clock::now() + 1000h), holder);
    kedge::context root(nullptr);
    root.enter_root(l);
    sleeping->start(root);
    CHECK(l.timers().size() == 1);
    if (expired) {
      l.timers().expire(clock::time_point::max());
      CHECK(sleeping->queued());
    }
    sleeping.reset();
    CHECK(l.timers().empty());
    CHECK_FALSE(l.poll());
  }
}

TEST_CASE("a loop with a sleep that waits or has expired can be destroyed") {
  for (const bool expired : {false, true}) {
    CAPTURE(expired);
    loop l;
    l.spawn(kedge::sleep_until(expired ? clock::now() : clock::now() + 1000h));
    if (!expired) l.poll();
    CHECK(l.size() == 1);
  }
}

TEST_CASE("sleeps with a slack end together, each late by less than the slack") {
  kedge::virtual_time time;
  loop l(time);
  const auto start = time.now();
  for (int i = 0; i < 10; ++i) {
    l.spawn([&, i]() -> task<> {
      const auto due = start + 1s + i * 1ms;
      if (i % 2 == 0) {
        co_await kedge::sleep_for(due - start, 500ms);
      } else {
        co_await kedge::sleep_until(due, 500ms);
      }
      CHECK(time.now() >= due);
      CHECK(time.now() < due + 500ms);
    });
  }
  l.poll();
  const auto shared = l.timers().earliest();
  time.advance(shared - start);
  while (l.size() != 0 && l.poll()) {
  }
  CHECK(l.size() == 0);
}

}  // namespace
