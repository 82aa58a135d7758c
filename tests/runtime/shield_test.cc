#include "kedge/runtime/shield.h"

#include <doctest/doctest.h>

#include <ostream>
#include <stdexcept>
#include <string>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::shield;
using kedge::task;
using kedge::virtual_time;

task<int> after(gate& g) {
  co_return co_await g.wait();
}
// Awaits the gate behind a shield, as a leaf or within a task.
task<int> shielded(gate& g, bool in_task) {
  if (in_task) co_return co_await shield(after(g));
  co_return co_await shield(g.wait());
}
TEST_CASE("no cancellation passes a shield, and the next wait ends the caller") {
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    loop l;
    gate g;
    std::string out;
    l.spawn([&]() -> task<> {
      mark end(out, 'c');
      out += std::to_string(co_await shielded(g, in_task));
      co_await kedge::yield();
      end.letter = 'x';
    });
    l.poll();
    l.cancel();
    while (l.poll()) {
    }
    CHECK(g.cancelled == 0);
    CHECK(out.empty());
    g.open();
    drain(l);
    CHECK(out == "42c");
    CHECK(g.made == g.destroyed);
  }
}

TEST_CASE("in a cancelled context a shielded wait begins and gives its value") {
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    loop l;
    gate g;
    int value = 0;
    l.spawn([&]() -> task<> {
      l.cancel();
      value = co_await shielded(g, in_task);
    });
    while (g.waiting == nullptr) l.poll();
    g.open();
    drain(l);
    CHECK(value == 42);
  }
}

TEST_CASE("a failure behind a shield is thrown") {
  loop l;
  gate g;
  g.is_open = g.fails = true;
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    CHECK_THROWS_AS(l.run(shielded(g, in_task)), std::runtime_error);
  }
}

TEST_CASE("behind a shield time-outs and scope::cancel() work as elsewhere") {
  virtual_time time;
  loop l(time);
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    l.cancel();
    co_await shield([](gate& at, std::string& o) -> task<> {
      o += (co_await kedge::with_timeout(1ns, at.wait())).error() == errc::timed_out ? 't' : 'x';
      co_await kedge::with_scope([&](kedge::scope& s) -> task<> {
        const mark end(o, 's');
        s.cancel();
        co_await at.wait();
      });
      o += 'e';
    }(g, out));
  });
  CHECK(time.run() == 0);
  CHECK(out == "tse");
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a time-out and a when_any wait for what is shielded, whose value counts") {
  virtual_time time;
  loop l(time);
  gate g, won;
  won.is_open = true;
  int sum = 0;
  l.spawn([&]() -> task<> {
    sum += (co_await kedge::with_timeout(1ns, shield(g.wait()))).value();
    const auto [a, b] = co_await kedge::when_any(shield(after(g)), won.wait());
    sum += a.value() + b.value();
  });
  time.run_for(1ns);
  CHECK(l.timers().empty());
  REQUIRE(g.waiting != nullptr);
  g.open();
  drain(l);
  CHECK(sum == 3 * 42);
}

TEST_CASE("a loop destroyed at any stage of a shielded wait destroys its operation once") {
  for (int drives = 0; drives < 4; ++drives) {
    for (const bool in_task : {false, true}) {
      CAPTURE(drives);
      CAPTURE(in_task);
      gate g;
      {
        loop l;
        l.spawn(shielded(g, in_task));
        for (int i = 0; i < drives; ++i) l.poll();
        l.cancel();
        if (drives == 3) g.open();
      }
      CHECK(g.made == g.destroyed);
      CHECK(g.waiting == nullptr);
    }
  }
}

}  // namespace
