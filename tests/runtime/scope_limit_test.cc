// set_limit(), room() and drain() of a scope.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/this_task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"
#include "wait_for.h"

namespace {

using namespace std::chrono_literals;
using kedge::background;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::run_for;
using kedge::scope;
using kedge::settle;
using kedge::task;
using kedge::virtual_time;
using kedge::wait_for;
using kedge::with_scope;

std::error_code code_of(const kedge::result<void>& r) {
  return r ? std::error_code() : r.error();
}
std::error_code error_of_spawn(scope& s) {
  try {
    s.spawn(kedge::yield());
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

// Counts the children that run, and the most that ever ran.
class gauge {
 public:
  task<> child(int turns) {
    most = std::max(most, ++running);
    co_await run_for(turns);
    --running;
    ++ended;
  }
  int running = 0;
  int most = 0;
  int ended = 0;
};

TEST_CASE("a scope with a limit runs no more children at a time, in the order of spawn()") {
  loop l;
  gauge seen;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(2);
    for (int i = 0; i < 6; ++i) {
      s.spawn([&, i]() -> task<> {
        out += static_cast<char>('0' + i);
        co_await seen.child(3);
      });
    }
    CHECK(s.size() == 6);
    co_return;
  }));
  CHECK(out == "012345");
  CHECK(seen.most == 2);
  CHECK(seen.ended == 6);
}

TEST_CASE("a kept child keeps its place in front of children that are spawned when there is room") {
  loop l;
  std::string out;
  gate g;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn(wait_for(g, out, 'x'));
    s.spawn([&]() -> task<> {
      out += '1';
      co_return;
    });
    co_await kedge::yield();
    g.open();
    while (s.size() == 2) co_await kedge::yield();
    s.spawn([&]() -> task<> {
      out += '2';
      co_return;
    });
  }));
  CHECK(out == "v12");
}

TEST_CASE("10,000 kept children that are ready at once all end") {
  loop l;
  gate g;
  g.is_open = true;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn(run_for, 2);
    for (int i = 0; i < 10'000; ++i) s.spawn(g.wait());
    CHECK(g.asked == 0);
    co_return;
  }));
  CHECK(g.asked == 10'000);
}

TEST_CASE("a limit may change: a higher one starts kept children, a lower one ends none") {
  loop l;
  gauge seen;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    for (int i = 0; i < 8; ++i) s.spawn([&] { return seen.child(5); });
    co_await kedge::yield();
    CHECK(seen.running == 1);
    s.set_limit(4);
    co_await run_for(2);
    CHECK(seen.running == 4);
    s.set_limit(2);
    CHECK(seen.running == 4);
    s.spawn([&] { return seen.child(1); });
    while (seen.running > 2) co_await kedge::yield();
    seen.most = 0;
  }));
  CHECK(seen.most == 2);
  CHECK(seen.ended == 9);
}

TEST_CASE("a limit that is raised while more run than it allows starts no child") {
  loop l;
  gauge seen;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(4);
    for (int i = 0; i < 8; ++i) s.spawn([&] { return seen.child(9); });
    co_await kedge::yield();
    s.set_limit(1);
    co_await kedge::yield();
    s.set_limit(3);
    co_await run_for(2);
    CHECK(seen.running == 4);
    while (seen.running > 3) co_await kedge::yield();
    seen.most = 0;
  }));
  CHECK(seen.most == 3);
  CHECK(seen.ended == 8);
}

TEST_CASE("a limit of zero is refused, and a limit of an ended scope has no effect") {
  loop l;
  scope* ended = nullptr;
  const auto late = [&]() -> task<> {
    co_await run_for(5);
    ended->set_limit(1);
    ended->drain(1s);
    CHECK(code_of(co_await ended->room()) == kedge::errc::closed);
    CHECK_THROWS_AS(ended->spawn(kedge::yield()), std::logic_error);
  };
  const auto body = [&](scope& s) -> task<> {
    ended = &s;
    bool refused = false;
    try {
      s.set_limit(0);
    } catch (const std::system_error& e) {
      refused = e.code() == std::errc::invalid_argument;
    }
    CHECK(refused);
    co_return;
  };
  // The when_all keeps the ended scope until it ends itself.
  l.run(kedge::when_all(with_scope(body), late()));
  CHECK(l.timers().empty());
}

TEST_CASE("the body and background children take no room") {
  loop l;
  gauge seen;
  gate g;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn(background(wait_for), std::ref(g), std::ref(out), 'c');
    for (int i = 0; i < 3; ++i) s.spawn([&] { return seen.child(2); });
    co_return;
  }));
  CHECK(seen.ended == 3);
  CHECK(seen.most == 1);
  CHECK(out == "c");
}

TEST_CASE("a failure in a full scope cancels what runs, and the kept children still begin") {
  loop l;
  gate g;
  std::string out;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn([]() -> task<> {
      co_await kedge::yield();
      throw std::runtime_error("x");
    });
    s.spawn(wait_for, std::ref(g), std::ref(out), 'c');
    s.spawn(g.wait());
    s.spawn(wait_for, std::ref(g), std::ref(out), 'd');
    co_await kedge::forever();
  })),
                  std::runtime_error);
  CHECK(out == "cd");
  CHECK(g.asked == 0);
}

TEST_CASE("kept children that never started are destroyed with their scope") {
  std::string out;
  gate g;
  {
    loop l;
    l.spawn(with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      s.spawn(g.wait());
      for (const char c : {'1', '2'}) {
        s.spawn([](gate& at, mark) -> task<> { co_await at.wait(); }, std::ref(g), mark(out, c));
      }
      co_await kedge::forever();
    }));
    settle(l);
    CHECK(out.empty());
  }
  CHECK(out == "21");  // the newest first, as children that run
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a dump tells how many children wait for room") {
  loop l;
  gate g;
  l.spawn([&]() -> task<> {
    co_await with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      for (int i = 0; i < 3; ++i) s.spawn([&]() -> task<> { co_await g.wait(); });
      co_return;
    });
  });
  settle(l);
  std::ostringstream out;
  l.dump(out);
  CHECK(out.str().find("a scope of 3 children, 2 of which wait for room") != std::string::npos);
  g.open();
  kedge::drain(l);
}

TEST_CASE("room() waits while the scope is full, and is ready without a limit") {
  loop l;
  gauge seen;
  l.run(with_scope([&](scope& s) -> task<> {
    CHECK((co_await s.room()).has_value());
    s.set_limit(2);
    for (int i = 0; i < 8; ++i) {
      CHECK((co_await s.room()).has_value());
      CHECK(s.size() < 2);
      s.spawn([&] { return seen.child(3); });
      CHECK(s.size() <= 2);
    }
  }));
  CHECK(seen.ended == 8);
  CHECK(seen.most == 2);
}

TEST_CASE("all tasks that wait for room go on, and what exceeds the limit is kept") {
  loop l;
  gauge seen;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn([&] { return seen.child(5); });
    const auto feed = [&](int children) -> task<> {
      CHECK((co_await s.room()).has_value());
      for (int i = 0; i < children; ++i) s.spawn([&] { return seen.child(1); });
    };
    // The first one goes on without a child: the others wait for none of it.
    co_await kedge::when_all(feed(0), feed(2), feed(1));
  }));
  CHECK(seen.ended == 4);
  CHECK(seen.most == 1);
}

TEST_CASE("a wait for room is cancelled, selected, and ended by drain() and by the scope's end") {
  loop l;
  gate g;
  std::string out;
  SUBCASE("cancelled") {
    l.run(with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      s.spawn(g.wait());
      CHECK_FALSE((co_await kedge::with_timeout(0s, s.room())).has_value());
      g.open();
    }));
  }
  SUBCASE("selected") {
    l.run(with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      s.spawn(g.wait());
      kedge::event never;
      s.spawn(background([&]() -> task<> {
        co_await kedge::yield();
        g.open();
      }));
      const auto first = co_await kedge::select(never.wait(), s.room());
      CHECK(first.index() == 1);
    }));
  }
  SUBCASE("ended by drain()") {
    l.run(with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      s.spawn(g.wait());
      s.spawn(background([&]() -> task<> {
        co_await kedge::yield();
        s.drain(1h);
      }));
      CHECK(code_of(co_await s.room()) == kedge::errc::closed);
      g.open();
    }));
  }
  SUBCASE("ended with the scope, from outside") {
    scope* inner = nullptr;
    const auto body = [&](scope& s) -> task<> {
      inner = &s;
      s.set_limit(1);
      s.spawn(g.wait());
      co_return;  // so the scope ends with its only child, before another one could start
    };
    const auto open_gate = [&]() -> task<> {
      co_await run_for(5);
      g.open();
    };
    const auto wait_outside = [&]() -> task<> {
      while (inner == nullptr) co_await kedge::yield();
      const auto room = co_await inner->room();
      CHECK(code_of(room) == kedge::errc::closed);
      out += 'r';
    };
    const auto open = [&]() -> task<> { co_await with_scope(body); };
    // The frame of open() ends with the scope.
    l.run(kedge::when_all(open(), wait_outside(), open_gate()));
    CHECK(out == "r");
  }
  CHECK(g.made == g.destroyed);
}

TEST_CASE("drain() refuses children and cancels nothing until the grace has passed") {
  virtual_time time;
  loop l(time);
  gate g;
  std::string out;
  std::optional<kedge::cancel_cause> cause;
  l.spawn([&]() -> task<> {
    co_await with_scope([&](scope& s) -> task<> {
      s.spawn(wait_for, std::ref(g), std::ref(out), 'c');
      s.drain(10s);
      CHECK(error_of_spawn(s) == kedge::errc::closed);
      CHECK(s.size() == 1);
      CHECK((co_await kedge::this_task::state()).time_left == 10s);
      const auto end = co_await kedge::attempt(kedge::forever());
      cause = end.cause();
      out += 'b';
    });
    out += 'e';
  });
  settle(l);
  time.advance(9s);
  while (l.poll()) {
  }
  CHECK(out.empty());
  SUBCASE("the grace passes") {
    time.advance(1s);
    while (l.size() != 0) l.poll();
    CHECK(cause == kedge::cancel_cause::deadline);
    CHECK(out == "bce");
  }
  SUBCASE("a cancellation comes first") {
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(cause == kedge::cancel_cause::requested);
    CHECK(out == "bc");
  }
  CHECK(l.timers().empty());
}

TEST_CASE("a scope that drains ends early, without a timer, when its children have ended") {
  virtual_time time;
  loop l(time);
  gate g;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn([&]() -> task<> {
      co_await run_for(3);
      g.open();
    });
    s.spawn(wait_for, std::ref(g), std::ref(out), 'c');  // is kept, and starts although it drains
    s.drain(1h);
    CHECK_FALSE(s.cancelled());
    co_return;
  }));
  CHECK(out == "v");
  CHECK(l.timers().empty());
}

TEST_CASE("of several drain() calls the earliest end counts") {
  for (const bool shortens : {false, true}) {
    CAPTURE(shortens);
    virtual_time time;
    loop l(time);
    l.spawn(with_scope([&](scope& s) -> task<> {
      s.drain(shortens ? 20s : 10s);
      s.drain(shortens ? 10s : 20s);
      co_await kedge::forever();
    }));
    settle(l);
    time.advance(9s);
    while (l.poll()) {
    }
    CHECK(l.size() == 1);
    time.advance(1s);
    while (l.size() != 0) l.poll();
    CHECK(l.timers().empty());
  }
}

TEST_CASE("a grace that is over at once cancels at the next turn, one without end never") {
  virtual_time time;
  loop l(time);
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.drain(kedge::clock::duration::max());
    co_await run_for(3);
    CHECK(l.timers().empty());
    CHECK_THROWS_AS(
        s.drain(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())),
        std::invalid_argument);
    s.drain(-1s);
    CHECK_FALSE(s.cancelled());
    const mark end(out, 'c');
    co_await kedge::forever();
  }));
  CHECK(out == "c");
}

TEST_CASE("a drained scope that is destroyed leaves no timer") {
  virtual_time time;
  gate g;
  loop other(time);
  {
    loop l(time);
    l.spawn(with_scope([&](scope& s) -> task<> {
      s.spawn(g.wait());
      s.drain(10s);
      co_await kedge::forever();
    }));
    while (g.waiting == nullptr) l.poll();
  }
  time.advance(20s);
  CHECK(g.made == g.destroyed);
}

}  // namespace
