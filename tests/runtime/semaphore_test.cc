#include "kedge/runtime/semaphore.h"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>

#include "drain.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::semaphore;
using kedge::settle;
using kedge::task;

// Notes `name` when it has n permits, and again, in upper case, when it gives them back.
task<> hold(semaphore& s, std::size_t n, std::string& out, char name) {
  const auto held = (co_await s.acquire(n)).value();
  CHECK(held.count() == n);
  out += name;
  co_await kedge::yield();
  out += static_cast<char>(name - 'a' + 'A');
}

template <class F>
std::error_code thrown_by(F f) {
  try {
    f();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

TEST_CASE("a semaphore lets as many tasks go as it has permits for, in their order") {
  semaphore s(2);
  loop l;
  std::string out;
  for (const char name : {'a', 'b', 'c'}) l.spawn(hold, std::ref(s), 1, std::ref(out), name);
  settle(l);
  CHECK(out == "abABcC");
  CHECK(s.available() == 2);
}

TEST_CASE("a task that asks for many permits is not overtaken by one that asks for few") {
  semaphore s(3);
  loop l;
  std::string out;
  l.spawn(hold, std::ref(s), 2, std::ref(out), 'a');
  l.spawn(hold, std::ref(s), 3, std::ref(out), 'b');
  l.spawn(hold, std::ref(s), 1, std::ref(out), 'c');
  settle(l);
  CHECK(out == "aAbBcC");
}

TEST_CASE("those behind a task that stops waiting get their permits at once") {
  kedge::virtual_time time;
  semaphore s(3);
  loop l(time);
  std::string out;
  std::optional<semaphore::permits> held = l.run(s.acquire(2)).value();
  l.spawn([&]() -> task<> {
    const auto r = co_await kedge::with_timeout(1s, s.acquire(3));
    CHECK(r.error() == kedge::errc::timed_out);
  });
  l.spawn(hold, std::ref(s), 1, std::ref(out), 'c');
  settle(l);
  CHECK(out.empty());
  time.advance(1s);
  settle(l);
  CHECK(out == "cC");
}

TEST_CASE("permits of a task that is destroyed before its turn go to the next") {
  semaphore s(2);
  loop l;
  std::string out;
  std::optional<semaphore::permits> held = l.run(s.acquire(2)).value();
  std::optional<loop> other(std::in_place);
  other->spawn(hold, std::ref(s), 2, std::ref(out), 'a');
  settle(*other);
  l.spawn(hold, std::ref(s), 1, std::ref(out), 'b');
  l.spawn(hold, std::ref(s), 1, std::ref(out), 'c');
  settle(l);
  held.reset();
  CHECK(s.available() == 0);
  other.reset();
  settle(l);
  CHECK(out == "bcBC");
  CHECK(s.available() == 2);
}

TEST_CASE("a semaphore that is released beyond its maximum throws EOVERFLOW, and gets nothing") {
  semaphore s(1, 3);
  loop l;
  CHECK(thrown_by([&] { s.release(3); }) == std::errc::value_too_large);
  CHECK(s.available() == 1);
  s.release(2);
  CHECK(s.available() == 3);
  CHECK(thrown_by([&] { s.release(); }) == std::errc::value_too_large);
  auto held = l.run(s.acquire(2)).value();
  // Those that are held come back by themselves.
  CHECK(thrown_by([&] { s.release(); }) == std::errc::value_too_large);
  held.forget();
  CHECK(held.count() == 0);
  s.release(2);
  CHECK(s.available() == 3);
}

TEST_CASE("permits are moved, and given back once") {
  semaphore s(3);
  loop l;
  auto a = l.run(s.acquire(1)).value();
  auto b = l.run(s.acquire(2)).value();
  CHECK(s.available() == 0);
  a = std::move(b);
  CHECK(b.count() == 0);
  CHECK(a.count() == 2);
  CHECK(s.available() == 1);
}

TEST_CASE("a semaphore refuses zero permits, more than its maximum, and a maximum of zero") {
  CHECK(thrown_by([] { semaphore s(0); }) == std::errc::invalid_argument);
  CHECK(thrown_by([] { semaphore s(2, 1); }) == std::errc::invalid_argument);
  semaphore s(2);
  CHECK(thrown_by([&] { static_cast<void>(s.acquire(0)); }) == std::errc::invalid_argument);
  CHECK(thrown_by([&] { static_cast<void>(s.acquire(3)); }) == std::errc::invalid_argument);
  CHECK(s.available() == 2);
}

TEST_CASE("a semaphore that is destroyed gives errc::closed to those that wait") {
  auto s = std::make_unique<semaphore>(1);
  loop l;
  auto held = l.run(s->acquire()).value();
  int closed = 0;
  l.spawn([&]() -> task<> {
    const auto r = co_await s->acquire();
    closed += r.error() == kedge::errc::closed;
  });
  settle(l);
  auto later = s->acquire();
  s.reset();
  settle(l);
  CHECK(closed == 1);
  CHECK(l.run(std::move(later)).error() == kedge::errc::closed);
}

}  // namespace
