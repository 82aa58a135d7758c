#include "kedge/runtime/foreign.h"
#include "drain.h"

#include <doctest/doctest.h>
#include <coroutine>

#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>

#include "foreign_event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::foreign;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;
using other::foreign_event;

other::foreign_task adds_one(foreign_event& e, int& n) {
  n = 1 + co_await e.wait();
  co_return n;
}

TEST_CASE("foreign awaits an awaiter, whose value the task gets at its own turn") {
  loop l;
  foreign_event e;
  std::string out;
  l.spawn([&]() -> task<> { out += std::to_string(co_await foreign(e.wait())); });
  while (!e.is_awaited()) l.poll();
  e.set(7);
  CHECK(out.empty());
  drain(l);
  CHECK(out == "7");
}

TEST_CASE("foreign awaits what is ready at once, by a member, a free operator or an lvalue") {
  loop l;
  l.run([]() -> task<> {
    CHECK(co_await foreign(other::half{8}) == 4);
    CHECK(co_await foreign(other::half{9}) == 4);
    foreign_event e;
    e.set(3);
    auto waiting = e.wait();
    CHECK(co_await foreign(waiting) == 3);
    int n = 0;
    e.set(4);
    int& given = co_await foreign(adds_one(e, n));
    CHECK(&given == &n);
    CHECK(n == 5);
  }());
}

TEST_CASE("a coroutine of another library runs into a wait of its own and back") {
  loop l;
  foreign_event e;
  int n = 0;
  l.spawn([&]() -> task<> { co_await foreign(adds_one(e, n)); });
  l.poll();
  REQUIRE(e.is_awaited());
  e.set(1);
  drain(l);
  CHECK(n == 2);
}

TEST_CASE("an exception of a foreign awaitable is thrown") {
  loop l;
  foreign_event e;
  e.set(-1);
  CHECK_THROWS_AS(l.run(foreign(e.wait())), std::runtime_error);
}

TEST_CASE("a cancelled task waits for the foreign awaitable, and its next wait ends it") {
  loop l;
  foreign_event e;
  std::string out;
  l.spawn([&]() -> task<> {
    kedge::mark end(out, 'c');
    out += std::to_string(co_await foreign(e.wait()));
    co_await kedge::yield();
    end.letter = 'x';
  });
  l.poll();
  l.cancel();
  while (l.poll()) {
  }
  CHECK(out.empty());
  e.set(7);
  drain(l);
  CHECK(out == "7c");
}

TEST_CASE("cancel() of foreign is called once and may end the foreign awaitable within the call") {
  for (const bool within : {false, true}) {
    CAPTURE(within);
    virtual_time time;
    loop l(time);
    foreign_event e;
    int calls = 0;
    std::string out;
    const auto cancel = [&] {
      ++calls;
      if (within) e.set(9);
    };
    l.spawn([&]() -> task<> {
      const auto r = co_await kedge::with_timeout(1ns, foreign(e.wait(), cancel));
      out += std::to_string(r.value());
    });
    time.run_for(1ns);
    CHECK(calls == 1);
    l.cancel();
    while (l.poll()) {
    }
    if (!within) e.set(9);
    drain(l);
    CHECK(calls == 1);
    CHECK(out == "9");
  }
}

TEST_CASE("the loser of a when_any is asked to end, and awaited") {
  loop l;
  foreign_event e;
  int calls = 0;
  const auto cancel = [&] {
    ++calls;
    e.set(5);
  };
  l.spawn([&]() -> task<> {
    const auto [a, b] = co_await kedge::when_any(foreign(e.wait(), cancel), kedge::yield());
    CHECK(a == 5);
    CHECK(b);
  });
  drain(l);
  CHECK(calls == 1);
}

TEST_CASE("cancel() is not called if the foreign awaitable has ended") {
  loop l;
  foreign_event e;
  bool called = false;
  std::string out;
  const auto cancel = [&] { called = true; };
  l.spawn([&]() -> task<> { out += std::to_string(co_await foreign(e.wait(), cancel)); });
  l.poll();
  SUBCASE("before the cancellation") {
    e.set(1);
    l.cancel();
  }
  SUBCASE("between the cancellation and the turn") {
    l.cancel();
    e.set(1);
  }
  drain(l);
  CHECK(out == "1");
  CHECK_FALSE(called);
}

TEST_CASE("a foreign wait does not begin in a cancelled task") {
  loop l;
  foreign_event e;
  e.set(1);
  l.spawn([&]() -> task<> {
    l.cancel();
    co_await foreign(e.wait());
  });
  drain(l);
  CHECK(e.is_set());
}

TEST_CASE("a loop destroyed during a foreign wait destroys the foreign awaiter") {
  foreign_event e;
  int n = 0;
  for (const bool in_coroutine : {false, true}) {
    CAPTURE(in_coroutine);
    loop l;
    if (in_coroutine) {
      l.spawn([&]() -> task<> { co_await foreign(adds_one(e, n)); });
    } else {
      l.spawn([&]() -> task<> { co_await foreign(e.wait()); });
    }
    l.poll();
    CHECK(e.is_awaited());
  }
  CHECK_FALSE(e.is_awaited());
}

class cancelling_awaiter {
 public:
  cancelling_awaiter(kedge::loop& l, std::coroutine_handle<>& at) noexcept : loop_(l), at_(at) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const noexcept {
    at_ = h;
    loop_.cancel();
  }
  void await_resume() const noexcept {}

 private:
  kedge::loop& loop_;
  std::coroutine_handle<>& at_;
};

TEST_CASE("a foreign awaiter that cancels the task while it starts is asked to end") {
  kedge::loop l;
  std::coroutine_handle<> at;
  int asked = 0;
  l.spawn([&]() -> kedge::task<> {
    const auto cancel = [&] {
      ++asked;
      std::exchange(at, nullptr).resume();
    };
    co_await kedge::foreign(cancelling_awaiter(l, at), cancel);
  });
  kedge::drain(l);
  CHECK(asked == 1);
}

}  // namespace
