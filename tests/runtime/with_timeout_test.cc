#include "kedge/runtime/with_timeout.h"

#include <doctest/doctest.h>

#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "gate.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::gate;
using kedge::loop;
using kedge::result;
using kedge::task;
using kedge::with_timeout;

task<int> after(gate& g, int n) {
  co_await g.wait();
  co_return n;
}
// Awaits x in a task, so that the task which x limits starts before its deadline is compared.
template <class A>
task<kedge::awaited_t<A>> inside(A x) {
  co_return co_await std::move(x);
}
void drain(loop& l) {
  while (l.size() != 0) l.run_once();
}

TEST_CASE("an awaitable that ends in time gives its value and leaves no timer") {
  loop l;
  gate g;
  g.is_open = true;
  CHECK(l.run(with_timeout(1000h, g.wait())).value() == 42);
  CHECK(l.run(with_timeout(1000h, after(g, 3))).value() == 3);
  CHECK(l.run(with_timeout(1000h, kedge::yield())).has_value());
  const auto p = l.run(with_timeout(
      1000h, []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }()));
  CHECK(**p == 3);
  CHECK(l.timers().empty());
}

TEST_CASE(
    "when the deadline passes the awaitable is cancelled and awaited, and the error is timed_out") {
  loop l;
  gate g, h;
  CHECK(l.run(with_timeout(1us, g.wait())).error() == errc::timed_out);
  CHECK(g.cancelled == 1);
  std::string out;
  const auto r = l.run(inside(with_timeout(1us, [](gate& at, std::string& o) -> task<int> {
    try {
      co_return co_await at.wait();
    } catch (const kedge::cancelled& c) {
      CHECK(c.cause() == kedge::cancel_cause::deadline);
      o += 'c';
      throw;
    }
  }(h, out))));
  CHECK(r.error() == errc::timed_out);
  CHECK(out == "c");
}

TEST_CASE("a value that arrives after the deadline wins over the time-out") {
  loop l;
  gate g;
  g.answer = kedge::gate::cancelling::completes;
  CHECK(l.run(with_timeout(1us, g.wait())).value() == 42);
  gate h;
  const auto r = l.run(inside(with_timeout(1us, [](gate& at) -> task<int> {
    try {
      co_await at.wait();
    } catch (const kedge::cancelled&) {
    }
    co_return 9;
  }(h))));
  CHECK(r.value() == 9);
}

TEST_CASE("with a deadline in the past the awaitable still starts, and a value at once wins") {
  loop l;
  gate g, h;
  g.is_open = true;
  CHECK(l.run(with_timeout(-1h, g.wait())).value() == 42);
  CHECK(l.run(with_timeout(0ns, h.wait())).error() == errc::timed_out);
  CHECK(l.run(with_timeout(kedge::clock::duration::min(), after(h, 1))).error() == errc::timed_out);
  CHECK(l.run(with_timeout(kedge::clock::duration::max(), after(g, 1))).value() == 1);
}

TEST_CASE("with_timeout of a result<T> gives a result<T> with the time-out among its errors") {
  loop l;
  const auto closed = []() -> task<result<int>> { co_return kedge::unexpected(errc::closed); };
  static_assert(std::is_same_v<decltype(l.run(with_timeout(1h, closed()))), result<int>>);
  CHECK(l.run(with_timeout(1h, closed())).error() == errc::closed);
  const auto forever = []() -> task<result<void>> {
    co_await kedge::sleep_for(1000h);
    co_return {};
  };
  CHECK(l.run(with_timeout(1us, forever())).error() == errc::timed_out);
}

TEST_CASE("an exception of the awaitable is thrown, before and after the deadline") {
  loop l;
  gate g;
  g.refuses = true;
  CHECK_THROWS_AS(static_cast<void>(l.run(with_timeout(1h, g.wait()))), std::runtime_error);
  CHECK(l.timers().empty());
  CHECK_THROWS_AS(static_cast<void>(l.run(inside(with_timeout(1us,
                                                              []() -> task<> {
                                                                try {
                                                                  co_await kedge::sleep_for(1000h);
                                                                } catch (const kedge::cancelled&) {
                                                                  throw std::runtime_error("late");
                                                                }
                                                              }())))),
                  std::runtime_error);
}

TEST_CASE("a cancellation from outside passes through with its cause") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    try {
      static_cast<void>(co_await with_timeout(1000h, after(g, 1)));
    } catch (const kedge::cancelled& c) {
      CHECK(c.cause() == kedge::cancel_cause::requested);
      out = "cancelled";
      throw;
    }
  });
  while (g.waiting == nullptr) l.poll();
  l.cancel();
  drain(l);
  CHECK(out == "cancelled");
  CHECK(l.timers().empty());
}

TEST_CASE(
    "of a cancellation from outside and a deadline, the one that came first decides the outcome") {
  loop l;
  gate g;
  g.answer = kedge::gate::cancelling::ends_late;
  std::string out;
  l.spawn([&]() -> task<> {
    try {
      const auto r = co_await with_timeout(1us, g.wait());
      out = r ? "value" : "timed out";
    } catch (const kedge::cancelled&) {
      out = "cancelled";
      throw;
    }
  });
  SUBCASE("cancelled from outside, then the deadline passes: `cancelled`") {
    // Cancelled in the same turn as it begins, before the timer can expire.
    l.spawn([&]() -> task<> {
      l.cancel();
      co_return;
    });
    l.poll();
    while (!l.timers().empty()) l.run_once();
    g.open();
    drain(l);
    CHECK(out == "cancelled");
  }
  SUBCASE("the deadline passes, then cancelled from outside: timed out") {
    while (g.cancelled == 0) l.run_once();
    l.cancel();
    g.open();
    drain(l);
    CHECK(out == "timed out");
  }
}

TEST_CASE("of nested time-outs the one whose deadline passed reports it") {
  loop l;
  gate g;
  const auto outer_first = l.run(with_timeout(1us, with_timeout(1000h, g.wait())));
  CHECK(outer_first.error() == errc::timed_out);
  const auto inner_first = l.run(with_timeout(1000h, [](gate& at) -> task<std::string> {
    const auto r = co_await with_timeout(1us, at.wait());
    co_return r ? "value" : "inner timed out";
  }(g)));
  CHECK(inner_first.value() == "inner timed out");
  bool inner_went_on = false;
  const auto outer_of_task = l.run(inside(with_timeout(1us, [](gate& at, bool& on) -> task<> {
    static_cast<void>(co_await with_timeout(1000h, at.wait()));
    on = true;
  }(g, inner_went_on))));
  CHECK(outer_of_task.error() == errc::timed_out);
  CHECK_FALSE(inner_went_on);
  CHECK(l.timers().empty());
}

TEST_CASE("a time-out cancels all branches of a combinator and all children of a scope") {
  loop l;
  gate g, h;
  CHECK(l.run(with_timeout(1us, kedge::when_all(g.wait(), h.wait()))).error() == errc::timed_out);
  CHECK(l.run(with_timeout(1us, kedge::with_scope([&](kedge::scope& s) -> task<> {
                             s.spawn(g.wait());
                             co_await h.wait();
                           })))
            .error() == errc::timed_out);
  CHECK(g.made == g.destroyed);
  CHECK(h.made == h.destroyed);
}

TEST_CASE("a loop that is destroyed at any stage of a time-out destroys its operations") {
  for (int drives = 0; drives < 5; ++drives) {
    for (const bool open : {false, true}) {
      CAPTURE(drives);
      CAPTURE(open);
      gate g, h;
      {
        loop l;
        l.spawn(with_timeout(1000h, after(g, 1)));
        l.spawn(with_timeout(1us, h.wait()));
        for (int i = 0; i < drives; ++i) {
          l.poll();
          if (i == 1 && open) g.open();
        }
      }
      CHECK(g.made == g.destroyed);
      CHECK(h.made == h.destroyed);
    }
  }
}

}  // namespace
