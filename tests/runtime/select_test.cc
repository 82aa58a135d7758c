#include "kedge/runtime/select.h"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "drain.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/mutex.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/semaphore.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/value.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::channel;
using kedge::errc;
using kedge::loop;
using kedge::select;
using kedge::settle;
using kedge::task;

TEST_CASE("select takes from exactly one of the sources that are ready") {
  channel<int> a(4), b(4);
  loop l;
  for (const int n : {1, 2}) {
    CHECK(a.try_send(n));
    CHECK(b.try_send(n));
  }
  for (std::size_t left = 3; left != static_cast<std::size_t>(-1); --left) {
    const auto r = l.run(select(a.receive(), b.receive()));
    CHECK(a.size() + b.size() == left);
    CHECK(std::visit([](const auto& got) { return got.has_value(); }, r));
  }
}

TEST_CASE("select takes from each of the sources that are always ready equally often") {
  channel<int> a(1), b(1), c(1);
  loop l;
  std::array<int, 3> two{}, three{};
  for (int i = 0; i < 300; ++i) {
    for (channel<int>* const each : {&a, &b, &c}) static_cast<void>(each->try_send(i));
    // Two selects that alternate do not disturb each other.
    ++two[l.run(select(a.receive(), b.receive())).index()];
    for (channel<int>* const each : {&a, &b, &c}) static_cast<void>(each->try_send(i));
    ++three[l.run(select(a.receive(), b.receive(), c.receive())).index()];
  }
  for (const int n : {two[0], two[1]}) CHECK(std::abs(n - 150) <= 3);
  for (const int n : three) CHECK(std::abs(n - 100) <= 3);
}

TEST_CASE("a source that has something first ends the wait; the other keeps what comes later") {
  channel<int> a(1), b(1);
  loop l;
  std::optional<std::size_t> index;
  l.spawn([&]() -> task<> {
    const auto r = co_await select(a.receive(), b.receive());
    index = r.index();
    CHECK(std::get<1>(r).value() == 7);
  });
  settle(l);
  CHECK(b.try_send(7));
  CHECK(a.try_send(8));
  settle(l);
  CHECK(index == 1);
  CHECK(a.try_receive().value() == 8);
  CHECK(b.size() == 0);
}

TEST_CASE("an item passes over a select that another source has woken") {
  channel<int> a(1), b(0);
  loop l;
  int taken = 0;
  l.spawn([&]() -> task<> {
    CHECK(co_await b.receive());
    ++taken;
  });
  l.spawn([&]() -> task<> {
    const auto r = co_await select(b.receive(), a.receive());
    CHECK(r.index() == 1);
    ++taken;
  });
  l.spawn([&]() -> task<> {
    CHECK(std::get<0>(co_await select(b.receive(), a.receive())).value() == 2);
    ++taken;
  });
  settle(l);
  CHECK(a.try_send(0));  // to the first select
  CHECK(b.try_send(1));  // to the plain receive
  settle(l);
  CHECK(taken == 2);
  CHECK(b.try_send(2));
  settle(l);
  CHECK(taken == 3);
}

TEST_CASE("select waits for room, for locks, for permits, for values, for events and for time") {
  kedge::virtual_time time;
  loop l(time);
  channel<int> full(0);
  kedge::mutex m;
  kedge::semaphore s(1);
  kedge::value<int> v(0);
  kedge::event e;
  std::optional<kedge::mutex::guard> locked = l.run(m.lock()).value();
  std::optional<kedge::semaphore::permits> held = l.run(s.acquire()).value();
  std::optional<std::size_t> index;
  l.spawn([&]() -> task<> {
    const auto r =
        co_await select(full.send(1), m.lock(), s.acquire(), v.until([](int n) { return n == 1; }),
                        e.wait(), kedge::sleep_for(1s));
    index = r.index();
  });
  settle(l);
  CHECK_FALSE(index);
  std::size_t expected = 0;
  SUBCASE("room") {
    CHECK(full.try_receive().value() == 1);
  }
  SUBCASE("lock") {
    expected = 1;
    locked.reset();
    held.reset();
    CHECK(m.is_locked());
    CHECK(s.available() == 1);
  }
  SUBCASE("permit") {
    expected = 2;
    held.reset();
    v.set(1);
  }
  SUBCASE("value") {
    expected = 3;
    v.set(1);
    locked.reset();
    CHECK_FALSE(m.is_locked());
  }
  SUBCASE("event") {
    expected = 4;
    e.set();
  }
  SUBCASE("time") {
    expected = 5;
    time.advance(1s);
  }
  settle(l);
  CHECK(index == expected);
  CHECK(l.timers().empty());
  // What select did not take, and what it took and dropped, is free again.
  locked.reset();
  held.reset();
  CHECK(l.run(m.lock()));
  CHECK(l.run(s.acquire()));
  CHECK(full.try_receive().error() == std::errc::resource_unavailable_try_again);
}

TEST_CASE("select looks again at what it was passed over for when its wake-up was a false alarm") {
  channel<int> c(1);
  kedge::value<int> v(0);
  loop l;
  bool got = false;
  l.spawn([&]() -> task<> {
    const auto r = co_await select(c.receive(), v.until([](int n) { return n == 1; }));
    CHECK(std::get<0>(r).value() == 5);
    got = true;
  });
  settle(l);
  v.set(2);
  CHECK(c.try_send(5));  // passes over the select, whose waiter is queued
  settle(l);
  CHECK(got);
}

TEST_CASE("select notices that a source has been closed when its wake-up was a false alarm") {
  channel<int> c(1);
  kedge::value<int> v(0);
  loop l;
  std::error_code end;
  l.spawn([&]() -> task<> {
    const auto r = co_await select(c.receive(), v.until([](int n) { return n == 1; }));
    end = std::get<0>(r).error();
  });
  settle(l);
  v.set(2);
  c.close(errc::end_of_file);
  settle(l);
  CHECK(end == errc::end_of_file);
}

TEST_CASE("select that waits twice on one source takes one item") {
  channel<int> c(3);
  loop l;
  int got = 0;
  l.spawn([&]() -> task<> {
    const auto r = co_await select(c.receive(), c.receive());
    got = std::visit([](const auto& n) { return n.value(); }, r);
  });
  settle(l);
  CHECK(c.try_send(1));
  CHECK(c.try_send(2));
  settle(l);
  CHECK(got == 1);
  CHECK(c.try_receive().value() == 2);
}

// The select begins while the channel holds the item of a receiver that has not had its turn. When
// that one takes it, the select's own two waits are the only ones.
TEST_CASE("a select does not receive its own item") {
  for (const std::size_t capacity : {0u, 1u}) {
    for (const bool receive_is_first : {false, true}) {
      CAPTURE(capacity);
      CAPTURE(receive_is_first);
      channel<int> c(capacity);
      kedge::event go;
      loop l;
      if (receive_is_first) static_cast<void>(l.next_in_rotation(2));
      std::optional<int> got;
      std::optional<std::size_t> index;
      l.spawn([&]() -> task<> { got = (co_await c.receive()).value(); });
      l.spawn([&]() -> task<> {
        static_cast<void>(co_await go.wait());
        const auto r = co_await select(c.send(9), c.receive());
        index = r.index();
      });
      settle(l);
      go.set();
      CHECK(c.try_send(5));
      settle(l);
      CHECK(got == 5);
      CHECK(index.has_value() == (capacity == 1));  // at 0 nobody else is there
      CHECK(c.try_receive().value() == 9);
      settle(l);
      CHECK(index == 0u);
      CHECK(c.size() == 0);
    }
  }
}

TEST_CASE("selects that send and receive on one rendezvous meet each other, past their own waits") {
  for (const bool one_more_sends : {false, true}) {
    CAPTURE(one_more_sends);
    channel<int> c(0);
    kedge::event go;
    loop l;
    std::vector<std::size_t> ended;
    std::vector<int> got;
    bool sent = false;
    const auto exchange = [&](int n) -> task<> {
      static_cast<void>(co_await go.wait());
      // Each select may also receive twice.
      const auto r = co_await select(c.send(n), c.receive(), c.receive());
      ended.push_back(r.index());
      if (const auto* const item = std::get_if<1>(&r)) got.push_back(item->value());
    };
    l.spawn([&]() -> task<> { got.push_back((co_await c.receive()).value()); });
    l.spawn(exchange, 1);
    if (one_more_sends) {
      l.spawn([&]() -> task<> {
        static_cast<void>(co_await go.wait());
        sent = (co_await c.send(2)).has_value();
      });
    } else {
      l.spawn(exchange, 2);
    }
    settle(l);
    go.set();
    CHECK(c.try_send(5));
    settle(l);
    CHECK(got == (one_more_sends ? std::vector<int>{5, 2} : std::vector<int>{5, 1}));
    CHECK(ended == (one_more_sends ? std::vector<std::size_t>{1} : std::vector<std::size_t>{1, 0}));
    CHECK(sent == one_more_sends);
    CHECK(l.size() == 0);
    CHECK(c.size() == 0);
  }
}

TEST_CASE("a select that is destroyed before its turn returns the item to its channel") {
  for (const bool waits_twice : {false, true}) {
    CAPTURE(waits_twice);
    channel<int> a(2), b(2);
    {
      loop l;
      l.spawn([&]() -> task<> {
        static_cast<void>(co_await select(a.receive(), (waits_twice ? a : b).receive()));
      });
      settle(l);
      CHECK(a.try_send(1));
      CHECK(b.try_send(2));
      CHECK(a.try_receive().error() == std::errc::resource_unavailable_try_again);
    }
    CHECK(a.try_receive().value() == 1);
    CHECK(b.try_receive().value() == 2);
  }
}

TEST_CASE("a select whose value is dropped returns the item to its channel") {
  channel<int> a(1), b(1);
  loop l;
  const auto fails = []() -> task<> {
    co_await kedge::sleep_for(0s);
    throw 1;
  };
  kedge::event never;
  const auto body = [&](kedge::scope& s) -> task<> {
    s.spawn(select(a.receive(), b.receive()));
    s.spawn(fails);
    CHECK(a.try_send(1));
    static_cast<void>(co_await never.wait());
  };
  CHECK_THROWS_AS(l.run(kedge::with_scope(body)), int);
  CHECK(a.try_receive().value() == 1);
}

TEST_CASE("a select that is cancelled takes nothing") {
  kedge::virtual_time time;
  channel<int> a(1), b(1);
  loop l(time);
  bool timed_out = false;
  l.spawn([&]() -> task<> {
    const auto r = co_await kedge::with_timeout(1s, select(a.receive(), b.receive()));
    CHECK(r.error() == errc::timed_out);
    timed_out = true;
  });
  settle(l);
  time.advance(1s);
  settle(l);
  CHECK(timed_out);
  CHECK(a.try_send(1));
  CHECK(a.try_receive().value() == 1);
}

TEST_CASE("select reads from a descriptor or takes an item, and not both") {
  const std::array<int, 2> ends = kedge::socket_pair();
  loop l;
  kedge::descriptor in(l, ends[0], kedge::ownership::owned);
  kedge::descriptor out(l, ends[1], kedge::ownership::owned);
  channel<int> c(1);
  std::array<std::byte, 8> buffer;
  const auto hello = std::as_bytes(std::span("hello", 5));
  CHECK(l.run(out.write_some(hello)).value() == 5);
  CHECK(c.try_send(1));
  const auto first = l.run(select(in.read_some(buffer), c.receive()));
  const auto second = l.run(select(in.read_some(buffer), c.receive()));
  CHECK(first.index() + second.index() == 1);
  const auto& read = first.index() == 0 ? first : second;
  CHECK(std::get<0>(read).value() == 5);
  // Neither is ready.
  std::optional<std::size_t> index;
  l.spawn(
      [&]() -> task<> { index = (co_await select(in.read_some(buffer), c.receive())).index(); });
  settle(l);
  CHECK_FALSE(index);
  CHECK(l.run(out.write_some(hello)).value() == 5);
  while (!index) l.run_once();
  CHECK(index == 0);
}

TEST_CASE("what a source throws is thrown by select, and the others have had no effect") {
  channel<int> c(1);
  kedge::value<int> v(0);
  loop l;
  bool thrown = false;
  const auto throws = [](int n) {
    if (n == 1) throw std::runtime_error("one");
    return false;
  };
  l.spawn([&]() -> task<> {
    CHECK_THROWS_WITH(static_cast<void>(co_await select(c.receive(), v.until(throws))), "one");
    thrown = true;
  });
  settle(l);
  v.set(1);
  settle(l);
  CHECK(thrown);
  // In a branch, too.
  CHECK_THROWS_WITH(
      static_cast<void>(l.run(kedge::with_timeout(1h, select(c.receive(), v.until(throws))))),
      "one");
  CHECK(c.try_send(1));
  CHECK(c.try_receive().value() == 1);
}

TEST_CASE("a predicate that cancels its own select ends it") {
  kedge::value<int> v(0);
  channel<int> c(1);
  loop l;
  bool went_on = false;
  const auto body = [&](kedge::scope& s) -> task<> {
    const auto cancels = [&s](int) {
      s.cancel();
      return false;
    };
    static_cast<void>(co_await select(v.until(cancels), c.receive()));
    went_on = true;
  };
  l.run(kedge::with_scope(body));
  CHECK_FALSE(went_on);
  CHECK(c.try_send(1));
  CHECK(c.try_receive().value() == 1);
}

TEST_CASE("a source that is destroyed ends a select with errc::closed at its index") {
  auto a = std::make_unique<channel<int>>(1);
  channel<int> b(1);
  loop l;
  std::error_code end;
  l.spawn([&]() -> task<> {
    const auto r = co_await select(b.receive(), a->receive());
    end = std::get<1>(r).error();
  });
  settle(l);
  a.reset();
  settle(l);
  CHECK(end == errc::closed);
}

TEST_CASE("a set() ends the event's wait of a select() also if it is reset after a false alarm") {
  kedge::loop l;
  kedge::event e;
  kedge::value<int> v(0);
  bool went_on = false;
  l.spawn([&]() -> kedge::task<> {
    const auto never = [](int) { return false; };
    static_cast<void>(co_await kedge::select(e.wait(), v.until(never)));
    went_on = true;
  });
  kedge::settle(l);
  v.set(1);  // the false alarm
  e.set();
  e.reset();
  kedge::settle(l);
  CHECK(went_on);
  l.cancel();
  kedge::settle(l);
}

}  // namespace
