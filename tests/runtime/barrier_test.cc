#include "kedge/runtime/barrier.h"

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

namespace {

using namespace std::chrono_literals;
using kedge::barrier;
using kedge::loop;
using kedge::settle;
using kedge::task;

TEST_CASE("tasks at a barrier go on together, round after round") {
  barrier b(3);
  loop l;
  std::string out;
  const auto work = [&](char name) -> task<> {
    for (int i = 0; i < 3; ++i) {
      out += name;
      CHECK(co_await b.arrive_and_wait());
    }
  };
  for (const char name : {'a', 'b', 'c'}) l.spawn(work, name);
  settle(l);
  REQUIRE(out.size() == 9);
  for (const std::size_t round : {0u, 3u, 6u}) {
    const std::string_view these = std::string_view(out).substr(round, 3);
    for (const char name : {'a', 'b', 'c'}) CHECK(these.find(name) != std::string_view::npos);
  }
  CHECK(b.arrived() == 0);
  CHECK(l.size() == 0);
}

TEST_CASE("a task that stops waiting at a barrier takes its arrival back") {
  kedge::virtual_time time;
  barrier b(2);
  loop l(time);
  l.spawn([&]() -> task<> {
    const auto r = co_await kedge::with_timeout(1s, b.arrive_and_wait());
    CHECK(r.error() == kedge::errc::timed_out);
  });
  settle(l);
  CHECK(b.arrived() == 1);
  time.advance(1s);
  settle(l);
  CHECK(b.arrived() == 0);
  int gone = 0;
  const auto work = [&]() -> task<> {
    if (co_await b.arrive_and_wait()) ++gone;
  };
  l.spawn(work);
  settle(l);
  CHECK(gone == 0);
  l.spawn(work);
  settle(l);
  CHECK(gone == 2);
}

TEST_CASE("a barrier of one lets its task go at once; one of zero is refused") {
  barrier b(1);
  loop l;
  CHECK(l.run(b.arrive_and_wait()));
  try {
    const barrier none(0);
    FAIL("made");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::invalid_argument);
  }
}

TEST_CASE("a barrier that is destroyed gives errc::closed to those that wait") {
  auto b = std::make_unique<barrier>(2);
  loop l;
  int closed = 0;
  l.spawn([&]() -> task<> {
    const auto r = co_await b->arrive_and_wait();
    closed += !r && r.error() == kedge::errc::closed;
  });
  settle(l);
  auto later = b->arrive_and_wait();
  b.reset();
  settle(l);
  CHECK(closed == 1);
  CHECK(l.run(std::move(later)).error() == kedge::errc::closed);
}

}  // namespace
