#include "kedge/runtime/mutex.h"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>

#include "drain.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::settle;
using kedge::task;

// Notes `name` when it has the lock, and again, in upper case, when it unlocks.
task<> hold(kedge::mutex& m, std::string& out, char name) {
  const auto held = (co_await m.lock()).value();
  out += name;
  co_await kedge::yield();
  out += static_cast<char>(name - 'a' + 'A');
}

TEST_CASE("a mutex is handed over in the order in which the tasks asked for it") {
  kedge::mutex m;
  loop l;
  std::string out;
  for (const char name : {'a', 'b', 'c'}) l.spawn(hold, std::ref(m), std::ref(out), name);
  settle(l);
  CHECK(out == "aAbBcC");
  CHECK_FALSE(m.is_locked());
}

TEST_CASE("no task comes between an unlock and the task that the mutex is handed to") {
  kedge::mutex m;
  loop l;
  std::string out;
  l.spawn([&]() -> task<> {
    auto held = (co_await m.lock()).value();
    l.spawn(hold, std::ref(m), std::ref(out), 'b');
    co_await kedge::yield();  // b waits now
    held.unlock();
    CHECK(m.is_locked());  // by b, which has not run
    const auto again = (co_await m.lock()).value();
    out += 'a';
  });
  settle(l);
  CHECK(out == "bBa");
}

TEST_CASE("a mutex that was handed to a task that is destroyed before its turn goes to the next") {
  kedge::mutex m;
  std::string out;
  loop l;
  std::optional<kedge::mutex::guard> held = l.run(m.lock()).value();
  std::optional<loop> other(std::in_place);
  other->spawn(hold, std::ref(m), std::ref(out), 'a');
  settle(*other);
  l.spawn(hold, std::ref(m), std::ref(out), 'b');
  settle(l);
  held.reset();
  SUBCASE("it is destroyed first") {
    other.reset();
    CHECK(m.is_locked());
    settle(l);
    CHECK(out == "bB");
  }
  SUBCASE("it runs first") {
    settle(*other);
    settle(l);
    CHECK(out == "aAbB");
  }
  CHECK_FALSE(m.is_locked());
}

TEST_CASE("a task that stops waiting for a mutex leaves the others in their order") {
  kedge::virtual_time time;
  kedge::mutex m;
  loop l(time);
  std::string out;
  std::optional<kedge::mutex::guard> held = l.run(m.lock()).value();
  l.spawn([&]() -> task<> {
    const auto r = co_await kedge::with_timeout(1s, m.lock());
    CHECK(r.error() == kedge::errc::timed_out);
    out += 't';
  });
  l.spawn(hold, std::ref(m), std::ref(out), 'b');
  settle(l);
  time.advance(1s);
  settle(l);
  held.reset();
  settle(l);
  CHECK(out == "tbB");
}

TEST_CASE("a branch that got the mutex and whose value is dropped unlocks it") {
  kedge::mutex m;
  loop l;
  kedge::event never;
  const auto fails = []() -> task<> {
    co_await kedge::yield();
    throw 1;
  };
  const auto body = [&](kedge::scope& s) -> task<> {
    s.spawn(m.lock());
    s.spawn(fails);
    static_cast<void>(co_await never.wait());
  };
  CHECK_THROWS_AS(l.run(kedge::with_scope(body)), int);
  CHECK_FALSE(m.is_locked());
}

TEST_CASE("a guard unlocks once; a guard that holds nothing is a stranger to the mutex") {
  kedge::mutex m;
  loop l;
  auto held = l.run(m.lock()).value();
  CHECK(held);
  auto moved = std::move(held);
  CHECK_FALSE(held);
  try {
    held.unlock();
    FAIL("unlocked");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::operation_not_permitted);
    CHECK(std::string(e.what()).find("kedge::mutex: unlock") != std::string::npos);
  }
  CHECK(m.is_locked());
  moved.unlock();
  CHECK_FALSE(m.is_locked());
  CHECK_THROWS_AS(moved.unlock(), std::system_error);
  moved = l.run(m.lock()).value();
  CHECK(m.is_locked());
}

TEST_CASE(
    "a mutex that is destroyed gives errc::closed to those that wait, and not to the holder") {
  auto m = std::make_unique<kedge::mutex>();
  loop l;
  auto held = l.run(m->lock()).value();
  int closed = 0;
  l.spawn([&]() -> task<> {
    const auto r = co_await m->lock();
    closed += r.error() == kedge::errc::closed;
  });
  settle(l);
  auto later = m->lock();
  m.reset();
  settle(l);
  CHECK(closed == 1);
  CHECK(l.run(std::move(later)).error() == kedge::errc::closed);
  held.unlock();
}

}  // namespace
