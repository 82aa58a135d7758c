#include "kedge/runtime/when_any.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>

#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::task;
using kedge::when_any;

task<int> after(gate& g, int n) {
  co_await g.wait();
  co_return n;
}
// Appends 'l' when it has lost, at its end.
task<int> slow_to_leave(gate& g, std::string& out) {
  kedge::mark end(out, 'l');
  const int n = co_await g.wait();
  end.letter = 'v';
  co_return n;
}

TEST_CASE("the first awaitable that ends wins; the others are cancelled and awaited") {
  loop l;
  gate g, h;
  std::string out;
  l.spawn([&]() -> task<> {
    const auto [a, b, c] =
        co_await when_any(g.wait(), slow_to_leave(h, out), kedge::sleep_for(1000h));
    out += 'w';
    CHECK(a == 42);
    CHECK_FALSE(b.has_value());
    CHECK_FALSE(c.has_value());
  });
  while (h.waiting == nullptr) l.poll();
  g.open();
  while (l.size() != 0) l.poll();
  CHECK(out == "lw");
  CHECK(h.cancelled == 1);
  CHECK(l.timers().empty());
}

TEST_CASE("a task that ends first wins over a leaf that waits") {
  loop l;
  gate g, h;
  std::optional<int> won;
  l.spawn([&]() -> task<> {
    auto [a, b] = co_await when_any(g.wait(), after(h, 7));
    CHECK_FALSE(a);
    won = b;
  });
  while (h.waiting == nullptr) l.poll();
  h.open();
  while (l.size() != 0) l.poll();
  CHECK(won == 7);
  CHECK(g.cancelled == 1);
}

TEST_CASE("an awaitable that ends before it can be cancelled has a value beside the winner's") {
  loop l;
  gate g, h;
  int winners = 0;
  l.spawn([&]() -> task<> {
    const auto [a, b] = co_await when_any(g.wait(), h.wait());
    winners = a.has_value() + b.has_value();
  });
  l.poll();
  SUBCASE("both end before the awaiter's turn") {
    g.open();
    h.open();
  }
  SUBCASE("the second one answers that the cancellation came too late") {
    h.answer = kedge::gate::cancelling::completes;
    g.open();
  }
  while (l.size() != 0) l.poll();
  CHECK(winners == 2);
}

TEST_CASE("an awaitable that is ready at once wins, and those after it are not started") {
  loop l;
  gate before, now, later;
  now.is_open = true;
  l.run([](gate& a, gate& b, gate& c) -> task<> {
    const auto [x, y, z] = co_await when_any(a.wait(), b.wait(), c.wait());
    CHECK_FALSE(x);
    CHECK(y);
    CHECK_FALSE(z);
  }(before, now, later));
  CHECK(before.cancelled == 1);
  CHECK(later.asked == 0);
  CHECK(later.made == later.destroyed);
}

TEST_CASE("when_any gives move-only values") {
  loop l;
  gate g;
  l.run([](gate& at) -> task<> {
    auto [p, none] = co_await when_any(
        []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }(), at.wait());
    REQUIRE(p);
    CHECK(**p == 3);
    CHECK_FALSE(none);
  }(g));
}

TEST_CASE("when_any gives the reference of a task<T&>, as a std::reference_wrapper") {
  loop l;
  gate g;
  std::string text = "kedge";
  l.run([](gate& at, std::string& s) -> task<> {
    const auto [r, none] = co_await when_any(
        [](std::string& of) -> task<std::string&> { co_return of; }(s), at.wait());
    REQUIRE(r);
    CHECK(&r->get() == &s);
    CHECK_FALSE(none);
  }(g, text));
}

TEST_CASE("the losers of a when_any are told that they are superseded") {
  loop l;
  gate g, won;
  kedge::cancel_cause cause{};
  l.run([](gate& at, gate& first, kedge::cancel_cause& why) -> task<> {
    co_await when_any(
        [](gate& w, gate& opens, kedge::cancel_cause& c) -> task<> {
          opens.open();
          c = (co_await kedge::attempt(w.wait())).cause();
        }(at, first, why),
        first.wait());
  }(g, won, cause));
  CHECK(cause == kedge::cancel_cause::superseded);
  CHECK(g.cancelled == 1);
}

TEST_CASE("the failure of one awaitable cancels the other and is thrown") {
  loop l;
  gate g;
  bool thrown = false;
  l.run([](gate& at, bool& t) -> task<> {
    try {
      co_await when_any(at.wait(), []() -> task<int> {
        co_await kedge::yield();
        throw std::runtime_error("x");
      }());
    } catch (const std::runtime_error&) {
      t = true;
    }
  }(g, thrown));
  CHECK(thrown);
  CHECK(g.cancelled == 1);
}

TEST_CASE("a cancellation from outside ends the awaiter, unless one awaitable has a value") {
  for (const bool late : {false, true}) {
    CAPTURE(late);
    loop l;
    gate g, h;
    if (late) h.answer = kedge::gate::cancelling::completes;
    std::string out;
    l.spawn([&]() -> task<> {
      kedge::mark end(out, 'c');
      const auto [a, b] = co_await when_any(after(g, 1), h.wait());
      CHECK_FALSE(a);
      CHECK(b == 42);
      end.letter = 'v';
    });
    while (g.waiting == nullptr) l.poll();
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(out == (late ? "v" : "c"));
  }
}

TEST_CASE("a loser's clean-up runs before the winner's value is delivered") {
  loop l;
  gate g;
  std::string out;
  l.run([](gate& at, std::string& o) -> task<> {
    struct bye {
      std::string& said;
      ~bye() { said += 'x'; }
    };
    const auto [a, b] = co_await when_any(
        [](gate& w, std::string& s) -> task<> {
          const bye last{s};
          co_await w.wait();
        }(at, o),
        kedge::yield());
    CHECK_FALSE(a);
    CHECK(b);
    o += 'w';
  }(g, out));
  CHECK(out == "xw");
}

TEST_CASE("a loop destroyed at any stage of a when_any destroys each operation once") {
  for (int drives = 0; drives < 6; ++drives) {
    for (int opened = 0; opened < 4; ++opened) {
      CAPTURE(drives);
      CAPTURE(opened);
      gate g, h;
      {
        loop l;
        l.spawn(when_any(g.wait(), after(h, 1)));
        for (int i = 0; i < drives; ++i) {
          l.poll();
          if (i == 2 && (opened & 1) != 0) g.open();
          if (i == 2 && (opened & 2) != 0) h.open();
        }
      }
      CHECK(g.made == g.destroyed);
      CHECK(h.made == h.destroyed);
      CHECK(g.waiting == nullptr);
      CHECK(h.waiting == nullptr);
    }
  }
}

}  // namespace
