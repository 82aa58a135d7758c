#include "kedge/runtime/with_cleanup.h"

#include <doctest/doctest.h>

#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::attempted;
using kedge::cancel_cause;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::task;
using kedge::virtual_time;
using kedge::with_cleanup;

task<int> work(gate& g, std::string& out) {
  const mark end(out, 'b');
  co_return co_await g.wait();
}
// Says how the body ended, before and after a wait.
auto cleaning(std::string& out) {
  return [&out](const attempted<void>& end) -> task<> {
    mark last(out, 'x');
    out += end.has_value() ? 'v' : end.failed() ? 'f' : 'c';
    co_await kedge::yield();
    last.letter = '.';
  };
}
TEST_CASE(
    "the clean-up runs after the body's locals are gone, and the value of the body is given") {
  loop l;
  gate g;
  g.is_open = true;
  std::string out;
  CHECK(l.run(with_cleanup(work(g, out), cleaning(out), 1h)) == 42);
  CHECK(out == "bv.");
}

TEST_CASE("the body may be a block, and the clean-up may take nothing and be a leaf") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    const auto body = [&]() -> task<std::unique_ptr<int>> {
      co_await kedge::yield();
      co_return std::make_unique<int>(7);
    };
    const auto value = co_await with_cleanup(body, [&] { return g.wait(); }, 1h);
    out += std::to_string(*value);
  });
  while (g.waiting == nullptr) l.poll();
  CHECK(out.empty());
  g.open();
  drain(l);
  CHECK(out == "7");
  CHECK(l.timers().empty());
}

TEST_CASE("a failure of the body is kept, and rethrown after the clean-up") {
  loop l;
  gate g;
  g.is_open = g.fails = true;
  std::string out;
  SUBCASE("of a task") {
    CHECK_THROWS_WITH_AS(l.run(with_cleanup(work(g, out), cleaning(out), 1h)), "failed",
                         std::runtime_error);
    CHECK(out == "bf.");
  }
  SUBCASE("of a leaf") {
    CHECK_THROWS_WITH_AS(l.run(with_cleanup(g.wait(), cleaning(out), 1h)), "failed",
                         std::runtime_error);
    CHECK(out == "f.");
  }
  SUBCASE("before a failure of the clean-up") {
    const auto fail = []() -> task<> {
      co_await kedge::yield();
      throw std::logic_error("second");
    };
    CHECK_THROWS_WITH_AS(l.run(with_cleanup(work(g, out), fail, 1h)), "failed", std::runtime_error);
  }
}

TEST_CASE("a failure of the clean-up is thrown, also after a cancelled body") {
  for (const bool throws_at_once : {false, true}) {
    for (const bool cancelled : {false, true}) {
      CAPTURE(throws_at_once);
      CAPTURE(cancelled);
      loop l;
      gate g;
      std::string out;
      l.spawn([&]() -> task<> {
        const auto late = []() -> task<> {
          co_await kedge::yield();
          throw std::logic_error("late");
        };
        const auto fail = [&] {
          if (throws_at_once) throw std::logic_error("at once");
          return late();
        };
        const auto end = co_await kedge::attempt(with_cleanup(work(g, out), fail, 1h));
        out += end.failed() ? 'f' : 'x';
      });
      while (g.waiting == nullptr) l.poll();
      cancelled ? l.cancel() : g.open();
      drain(l);
      CHECK(out == "bf");
    }
  }
}

TEST_CASE("a cancelled caller cleans up, hears the cause, and ends") {
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    loop l;
    gate g;
    std::string out;
    l.spawn([&]() -> task<> {
      const mark end(out, 'e');
      if (in_task) {
        co_await with_cleanup(work(g, out), cleaning(out), 1h);
      } else {
        co_await with_cleanup(g.wait(), cleaning(out), 1h);
      }
      out += 'x';
    });
    while (g.waiting == nullptr) l.poll();
    l.cancel();
    drain(l);
    CHECK(out == (in_task ? "bc.e" : "c.e"));
  }
}

TEST_CASE("the clean-up hears why the body was cancelled") {
  virtual_time time;
  loop l(time);
  cancel_cause cause{};
  const auto hear = [&](const attempted<void>& end) -> task<> {
    cause = end.cause();
    co_return;
  };
  SUBCASE("by a deadline") {
    l.spawn(kedge::with_timeout(1h, with_cleanup(kedge::forever(), hear, 1h)));
    l.poll();
    time.advance(1h);
    drain(l);
    CHECK(cause == cancel_cause::deadline);
  }
  SUBCASE("by the winner of a when_any") {
    l.run(kedge::when_any(with_cleanup(kedge::forever(), hear, 1h), kedge::yield()));
    CHECK(cause == cancel_cause::superseded);
  }
}

TEST_CASE("in a cancelled task the body ends at its first wait, and the clean-up runs to its end") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    const mark end(out, 'e');
    l.cancel();
    co_await with_cleanup(work(g, out), cleaning(out), 1h);
  });
  drain(l);
  CHECK(out == "bc.e");
  CHECK(g.asked == 0);
}

TEST_CASE(
    "a cancellation during the clean-up does not reach it, and ends the caller at its next wait") {
  loop l;
  gate body, g;
  body.is_open = true;
  std::string out;
  l.spawn([&]() -> task<> {
    const mark end(out, 'e');
    out += std::to_string(co_await with_cleanup(body.wait(), [&] { return work(g, out); }, 1h));
    co_await kedge::yield();
    out += 'x';
  });
  while (g.waiting == nullptr) l.poll();
  l.cancel();
  while (l.poll()) {
  }
  CHECK(out.empty());
  g.open();
  drain(l);
  CHECK(out == "b42e");
}

TEST_CASE("a clean-up is destroyed when its grace has passed, and the body's end stands") {
  virtual_time time;
  loop l(time);
  gate g;
  std::string out;
  const auto stuck = [&]() -> task<> {
    const mark end(out, 'c');
    co_await kedge::forever();
    out += 'x';
  };
  SUBCASE("the body has a value") {
    g.is_open = true;
    l.spawn([&]() -> task<> { out += std::to_string(co_await with_cleanup(g.wait(), stuck, 2s)); });
  }
  SUBCASE("the body is cancelled") {
    l.spawn([&]() -> task<> {
      const mark end(out, 'e');
      co_await with_cleanup(g.wait(), stuck, 2s);
    });
    l.poll();
    l.cancel();
  }
  while (l.timers().empty()) l.poll();
  time.advance(2s - 1ns);
  while (l.poll()) {
  }
  CHECK(out.empty());
  time.advance(1ns);
  drain(l);
  CHECK((out == "c42" || out == "ce"));
}

TEST_CASE("a grace that is not positive cancels the clean-up at its first wait") {
  loop l;
  gate g;
  g.is_open = true;
  std::string out;
  const auto clean = [&]() -> task<> {
    out += 'c';
    co_await kedge::forever();
  };
  CHECK(l.run(with_cleanup(g.wait(), clean, -1s)) == 42);
  CHECK(out == "c");
  CHECK_THROWS_AS(
      static_cast<void>(with_cleanup(g.wait(), clean, std::chrono::duration<double>(std::nan("")))),
      std::invalid_argument);
}

TEST_CASE("a loop destroyed at any stage of a with_cleanup destroys each operation once") {
  for (int drives = 0; drives < 6; ++drives) {
    CAPTURE(drives);
    gate g, h;
    {
      loop l;
      l.spawn([&]() -> task<> { co_await with_cleanup(g.wait(), [&] { return h.wait(); }, 1h); });
      for (int i = 0; i < drives; ++i) {
        l.poll();
        if (i == 1) g.open();
        if (i == 4) h.open();
      }
    }
    CHECK(g.made == g.destroyed);
    CHECK(h.made == h.destroyed);
    CHECK(h.waiting == nullptr);
  }
}

}  // namespace
