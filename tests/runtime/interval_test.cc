#include "kedge/runtime/interval.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "drain.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::interval;
using kedge::interval_tick;
using kedge::loop;
using kedge::missed_ticks;
using kedge::task;
using kedge::virtual_time;

// A task that notes the ticks of a period of 10 s: in seconds since the start, when each was due,
// and when it came.
struct world {
  using seen = std::tuple<long, long, std::uint64_t>;

  explicit world(missed_ticks policy) : ticks(std::in_place, l, 10s, policy) {
    l.spawn([this]() -> task<> {
      while (auto t = co_await ticks->next()) {
        out.emplace_back(seconds(t->due), seconds(time.now()), t->missed);
        if (busy != 0s) time.advance(std::exchange(busy, 0s));
      }
    });
    settle(l);
  }
  long seconds(kedge::clock::time_point t) const {
    return static_cast<long>(std::chrono::duration_cast<std::chrono::seconds>(t - start).count());
  }
  void advance(kedge::clock::duration d) {
    time.advance(d);
    settle(l);
  }

  virtual_time time;
  kedge::clock::time_point start = time.now();
  kedge::clock::duration busy{0};
  std::vector<seen> out;
  loop l{time};
  std::optional<interval> ticks;
};

TEST_CASE("an interval ticks at each period from its beginning, whatever the policy") {
  for (const auto policy : {missed_ticks::catch_up, missed_ticks::skip, missed_ticks::delay}) {
    CAPTURE(static_cast<int>(policy));
    world w(policy);
    w.advance(9s);
    CHECK(w.out.empty());
    w.advance(1s);
    for (int i = 0; i < 2; ++i) w.advance(10s);
    CHECK(w.out == std::vector<world::seen>{{10, 10, 0}, {20, 20, 0}, {30, 30, 0}});
  }
}

TEST_CASE("after a busy time catch_up gives each missed tick at once, then keeps the beat") {
  world w(missed_ticks::catch_up);
  w.busy = 25s;
  w.advance(10s);
  w.advance(5s);
  CHECK(w.out == std::vector<world::seen>{{10, 10, 0}, {20, 35, 0}, {30, 35, 0}, {40, 40, 0}});
}

TEST_CASE("after a busy time skip gives one late tick, then keeps the beat") {
  world w(missed_ticks::skip);
  w.busy = 25s;
  w.advance(10s);
  w.advance(5s);
  CHECK(w.out == std::vector<world::seen>{{10, 10, 0}, {20, 35, 1}, {40, 40, 0}});
}

TEST_CASE("after a busy time delay gives one late tick, and counts a period from it") {
  world w(missed_ticks::delay);
  w.busy = 25s;
  w.advance(10s);
  w.advance(9s);
  CHECK(w.out.size() == 2);
  w.advance(1s);
  CHECK(w.out == std::vector<world::seen>{{10, 10, 0}, {20, 35, 1}, {45, 45, 0}});
}

TEST_CASE("a loop that is late by less than a period keeps the beat of catch_up and skip") {
  for (const auto policy : {missed_ticks::catch_up, missed_ticks::skip}) {
    CAPTURE(static_cast<int>(policy));
    world w(policy);
    w.advance(13s);
    w.advance(7s);
    CHECK(w.out == std::vector<world::seen>{{10, 13, 0}, {20, 20, 0}});
  }
}

TEST_CASE("a period that is not positive, or not a number, is refused") {
  loop l;
  CHECK_THROWS_AS(interval(l, 0s), std::invalid_argument);
  CHECK_THROWS_AS(interval(l, -1ns), std::invalid_argument);
  CHECK_THROWS_AS(interval(l, std::chrono::duration<double>(std::nan(""))), std::invalid_argument);
}

TEST_CASE("a period beyond the end of time never ticks") {
  virtual_time time;
  loop l(time);
  interval ticks(l, std::chrono::hours::max());
  l.spawn(ticks.next());
  settle(l);
  time.advance(100'000h);
  settle(l);
  CHECK(l.size() == 1);
}

TEST_CASE("a wait that is cancelled loses no tick, even if the tick was due") {
  for (const bool was_due : {false, true}) {
    CAPTURE(was_due);
    virtual_time time;
    loop l(time);
    interval ticks(l, 10s);
    const auto start = time.now();
    l.spawn(ticks.next());
    settle(l);
    l.cancel();
    settle(l);
    CHECK(l.timers().empty());
    if (was_due) time.advance(10s);
    l.spawn([&]() -> task<> {
      const interval_tick t = (co_await ticks.next()).value();
      CHECK(t.due == start + 10s);
    });
    settle(l);
    if (!was_due) time.advance(10s);
    settle(l);
    CHECK(l.size() == 0);
  }
}

TEST_CASE("a second task that waits for a tick is refused") {
  loop l;
  interval ticks(l, 1h);
  l.spawn(ticks.next());
  l.poll();
  CHECK(l.run(ticks.next()).error() == errc::already_awaited);
}

TEST_CASE(
    "an interval that is destroyed ends its wait, and an awaitable that is older, as closed") {
  loop l;
  std::optional<interval> ticks(std::in_place, l, 1h);
  std::error_code code;
  l.spawn([&]() -> task<> { code = (co_await ticks->next()).error(); });
  settle(l);
  auto later = ticks->next();
  ticks.reset();
  CHECK_FALSE(code);
  settle(l);
  CHECK(code == errc::closed);
  CHECK(l.run(std::move(later)).error() == errc::closed);
  CHECK(l.timers().empty());
}

TEST_CASE("a loop that is destroyed during a wait leaves the tick to the next wait") {
  virtual_time time;
  std::optional<loop> l(std::in_place, time);
  interval ticks(*l, 1h);
  l->spawn(ticks.next());
  l->poll();
  l.reset();
  loop other(time);
  time.advance(1h);
  CHECK(other.run(ticks.next()).has_value());
}

}  // namespace
