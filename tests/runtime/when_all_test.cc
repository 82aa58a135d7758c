#include "kedge/runtime/when_all.h"

#include <doctest/doctest.h>

#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

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
using kedge::when_all;

task<int> after(gate& g, int n) {
  co_await g.wait();
  co_return n;
}
task<> fail(const char* what) {
  co_await kedge::yield();
  throw std::runtime_error(what);
}

TEST_CASE("when_all gives all values, in the order of its arguments") {
  loop l;
  gate g, h;
  std::tuple<int, std::string, std::monostate, int> got;
  l.spawn([&]() -> task<> {
    got = co_await when_all(
        after(g, 1), []() -> task<std::string> { co_return "two"; }(), kedge::yield(), h.wait());
  });
  while (g.waiting == nullptr || h.waiting == nullptr) l.poll();
  h.open();
  while (l.poll()) {
  }
  CHECK(l.size() == 1);
  g.open();
  while (l.size() != 0) l.poll();
  CHECK(std::get<0>(got) == 1);
  CHECK(std::get<1>(got) == "two");
  CHECK(std::get<3>(got) == 42);
}

TEST_CASE("when_all gives move-only values and references") {
  loop l;
  int n = 5;
  l.run([](int& shared) -> task<> {
    auto [p, r] = co_await when_all(
        []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }(),
        [](int& i) -> task<int&> { co_return i; }(shared));
    CHECK(*p == 3);
    CHECK(&r == &shared);
  }(n));
}

TEST_CASE("when_all of awaitables that are ready gives their values") {
  loop l;
  gate g;
  g.is_open = true;
  l.run([](gate& at) -> task<> {
    const auto [a, b] = co_await when_all(at.wait(), at.wait());
    CHECK(a + b == 84);
  }(g));
  CHECK(g.resumed == 2);
  CHECK(g.destroyed == g.made);
}

TEST_CASE("the first failure cancels the others and is thrown after they have ended") {
  loop l;
  gate g, h;
  std::string out;
  l.run([](gate& a, gate& b, std::string& o) -> task<> {
    try {
      co_await when_all(a.wait(), fail("first"), [](gate& at, std::string& said) -> task<> {
        const auto ended = co_await kedge::attempt(at.wait());
        CHECK(ended.cancelled());
        CHECK(ended.cause() == kedge::cancel_cause::failure);
        said += 'c';
        throw std::runtime_error("second");
      }(b, o));
    } catch (const std::runtime_error& e) {
      o += e.what();
    }
  }(g, h, out));
  CHECK(out == "cfirst");
  CHECK(g.cancelled == 1);
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a leaf that throws at its start or fails at once keeps those after it from starting") {
  for (const bool refuses : {true, false}) {
    CAPTURE(refuses);
    loop l;
    gate before, bad, later;
    bad.refuses = refuses;
    bad.is_open = !refuses;
    bad.fails = !refuses;
    l.run([](gate& a, gate& b, gate& c) -> task<> {
      bool thrown = false;
      try {
        co_await when_all(a.wait(), b.wait(), c.wait());
      } catch (const std::runtime_error&) {
        thrown = true;
      }
      CHECK(thrown);
    }(before, bad, later));
    CHECK(before.cancelled == 1);
    CHECK(later.asked == 0);
    CHECK(later.made == later.destroyed);
  }
}

TEST_CASE("a cancellation from outside cancels the branches that wait and ends the awaiter") {
  loop l;
  gate g, h, done;
  std::string out;
  l.spawn([&]() -> task<> {
    kedge::mark end(out, 'c');
    co_await when_all(g.wait(), after(h, 1), done.wait());
    end.letter = 'v';
  });
  while (h.waiting == nullptr) l.poll();
  done.open();
  l.cancel();
  CHECK(g.cancelled == 1);
  CHECK(done.cancelled == 0);
  CHECK(out.empty());
  while (l.size() != 0) l.poll();
  CHECK(out == "c");
}

TEST_CASE("a when_all whose branches ended before the cancellation gives their values") {
  loop l;
  gate g, h;
  int sum = 0;
  l.spawn([&]() -> task<> {
    const auto [a, b] = co_await when_all(g.wait(), h.wait());
    sum = a + b;
  });
  l.poll();
  g.open();
  h.open();
  l.cancel();
  while (l.size() != 0) l.poll();
  CHECK(sum == 84);
}

TEST_CASE("an exception of type `cancelled` is a failure like any other") {
  loop l;
  gate g;
  bool thrown = false;
  l.run([](gate& at, bool& t) -> task<> {
    try {
      co_await when_all(at.wait(), []() -> task<> {
        co_await kedge::yield();
        throw kedge::cancelled(kedge::cancel_cause::requested);
      }());
    } catch (const kedge::cancelled&) {
      t = true;
    }
    co_await kedge::yield();  // this context is not cancelled
  }(g, thrown));
  CHECK(thrown);
  CHECK(g.cancelled == 1);
}

TEST_CASE("a loop destroyed at any stage of a when_all destroys each operation once") {
  for (int drives = 0; drives < 6; ++drives) {
    for (int opened = 0; opened < 4; ++opened) {
      CAPTURE(drives);
      CAPTURE(opened);
      gate g, h;
      {
        loop l;
        l.spawn(when_all(g.wait(), after(h, 1), kedge::sleep_for(1000h)));
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
