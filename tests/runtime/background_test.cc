#include "kedge/runtime/background.h"

#include <doctest/doctest.h>

#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/handled.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/named.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "wait_for.h"

namespace {

using kedge::background;
using kedge::gate;
using kedge::handled;
using kedge::loop;
using kedge::named;
using kedge::run_for;
using kedge::scope;
using kedge::task;
using kedge::wait_for;
using kedge::with_scope;

TEST_CASE("background children are cancelled when the body and all others have ended") {
  loop l;
  gate g[3];
  std::string out;
  SUBCASE("the body ends last") {
    l.run(with_scope([&](scope& s) -> task<> {
      s.spawn(background(wait_for), std::ref(g[0]), std::ref(out), '1');
      s.spawn(background([&] { return g[1].wait(); }));
      s.spawn(run_for, 3);
      CHECK(s.size() == 3);
      co_await run_for(10);
      CHECK(s.size() == 2);
      out += 'b';
    }));
    CHECK(out == "b1");
    CHECK(g[1].cancelled == 1);
  }
  SUBCASE("a child ends last") {
    l.run(with_scope([&](scope& s) -> task<> {
      s.spawn(background(wait_for), std::ref(g[0]), std::ref(out), '1');
      s.spawn(background([&] { return g[1].wait(); }));
      s.spawn([&]() -> task<> {
        co_await run_for(10);
        out += 'c';
      });
      co_return;
    }));
    CHECK(out == "c1");
    CHECK(g[1].cancelled == 1);
  }
  SUBCASE("the body is a leaf that ends at once") {
    l.run(with_scope([&](scope& s) {
      g[2].is_open = true;
      s.spawn(background(wait_for), std::ref(g[0]), std::ref(out), '1');
      s.spawn(background([&] { return g[1].wait(); }));
      return g[2].wait();
    }));
    CHECK(out == "1");
    CHECK(g[1].cancelled == 1);
  }
  for (const gate& each : g) CHECK(each.made == each.destroyed);
}

TEST_CASE("a background child stays one under a name and with a handler, in any order") {
  loop l;
  gate g[5];
  const auto wait = [](gate& at) { return at.wait(); };
  const auto ignore = [](std::exception_ptr) {};
  l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(background(named("1", wait)), std::ref(g[0]));
    s.spawn(named("2", background(wait)), std::ref(g[1]));
    s.spawn(background(handled(wait, ignore)), std::ref(g[2]));
    s.spawn(handled(background(wait), ignore), std::ref(g[3]));
    s.spawn(named("5", handled(background(wait), ignore)), std::ref(g[4]));
    co_await run_for(2);
  }));
  for (const gate& each : g) CHECK(each.cancelled == 1);
}

TEST_CASE("the awaiter of a scope goes on after its background children were cancelled") {
  loop l;
  gate g;
  std::string out;
  const auto body = [&](scope& s) -> task<int> {
    s.spawn(background(wait_for), std::ref(g), std::ref(out), 'c');
    co_return 7;
  };
  const auto outer = [&]() -> task<> {
    CHECK(co_await with_scope(body) == 7);
    co_await kedge::yield();
    out += 'e';
  };
  l.run(outer());
  CHECK(out == "ce");
}

TEST_CASE("a cancellation from outside that ends only background children leaves the value") {
  loop l;
  gate late;
  late.answer = gate::cancelling::ends_late;
  std::string out;
  int value = 0;
  l.spawn([&]() -> task<> {
    value = co_await with_scope([&](scope& s) -> task<int> {
      s.spawn(background(wait_for), std::ref(late), std::ref(out), 'c');
      co_await run_for(2);
      co_return 7;
    });
    out += 'v';
    co_await kedge::yield();
    out += 'x';
  });
  while (late.cancelled == 0) l.poll();
  l.cancel();
  late.open();
  while (l.size() != 0) l.poll();
  CHECK(value == 7);
  CHECK(out == "cv");
}

TEST_CASE("a background child that ends first is like any other") {
  loop l;
  std::string out;
  SUBCASE("by itself") {
    l.run(with_scope([&](scope& s) -> task<> {
      s.spawn(background(run_for), 1);
      co_await run_for(5);
      CHECK(s.size() == 0);
    }));
  }
  SUBCASE("by a failure, which cancels the others") {
    gate g;
    const auto fail = []() -> task<> {
      co_await kedge::yield();
      throw std::runtime_error("x");
    };
    CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
      s.spawn(background(fail));
      s.spawn(wait_for(g, out, 'c'));
      co_await kedge::forever();
    })),
                    std::runtime_error);
    CHECK(out == "c");
  }
  SUBCASE("by a failure that is handled") {
    const auto fail = []() -> task<> {
      co_await kedge::yield();
      throw std::runtime_error("x");
    };
    l.run(with_scope([&](scope& s) -> task<> {
      s.spawn(background(kedge::handled(fail, [&](const std::exception_ptr&) { out += 'h'; })));
      co_await run_for(5);
      out += 'b';
    }));
    CHECK(out == "hb");
  }
}

TEST_CASE("a background child that cleans up is awaited, and may spawn") {
  loop l;
  std::string out;
  gate g;
  l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(background([&]() -> task<> {
      static_cast<void>(co_await kedge::attempt(kedge::forever()));
      s.spawn([&]() -> task<> {
        co_await run_for(3);
        out += 'f';
      });
      s.spawn(background(wait_for), std::ref(g), std::ref(out), 'g');
      co_await kedge::shield(run_for(10));
      out += 'b';
    }));
    co_return;
  }));
  // The last one is cancelled when the child has ended, while the first one still cleans up.
  CHECK(out == "fgb");
}

TEST_CASE("a background child that is spawned when only such are left is cancelled at once") {
  loop l;
  std::string out;
  gate g, h;
  l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(background([&]() -> task<> {
      static_cast<void>(co_await kedge::attempt(kedge::forever()));
      s.spawn(background(wait_for), std::ref(g), std::ref(out), 'g');
      s.spawn(background([&] { return h.wait(); }));
      co_await kedge::shield(run_for(10));
      out += 'b';
    }));
    co_return;
  }));
  CHECK(out == "gb");
  CHECK(h.cancelled == 1);
}

TEST_CASE("1,000 background children end without recursion and are each cancelled once") {
  loop l;
  int ended = 0;
  l.run(with_scope([&](scope& s) -> task<> {
    for (int i = 0; i < 1000; ++i) {
      s.spawn(background([] { return kedge::forever(); }));
      s.spawn(background([&]() -> task<> {
        static_cast<void>(co_await kedge::attempt(kedge::forever()));
        ++ended;
      }));
    }
    co_await kedge::yield();
    CHECK(s.size() == 2000);
  }));
  CHECK(ended == 1000);
}

TEST_CASE("background children of a suspended scope are destroyed with it") {
  std::string out;
  gate g;
  {
    loop l;
    const auto body = [&](scope& s) -> task<> {
      s.spawn(background(wait_for), std::ref(g), std::ref(out), 'c');
      co_await kedge::forever();
    };
    l.spawn(with_scope(body));
    while (g.waiting == nullptr) l.poll();
  }
  CHECK(out == "c");
  CHECK(g.made == g.destroyed);
}

}  // namespace
