#include "kedge/runtime/started.h"

#include <doctest/doctest.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/deadlock.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/handled.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/named.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"
#include "wait_for.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::run_for;
using kedge::scope;
using kedge::settle;
using kedge::started;
using kedge::task;
using kedge::with_scope;

task<> serve(started<int>& ready, int value, std::string& out) {
  const mark end(out, 's');
  co_await run_for(2);
  ready.report(value);
  out += 'r';
  co_await run_for(5);
  out += 'w';
}

TEST_CASE("start() gives what the child reports, and the child goes on in the scope") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    CHECK(co_await s.start(serve, 7, std::ref(out)) == 7);
    CHECK(s.size() == 1);
    out += 'b';
  }));
  CHECK(out == "rbws");
}

TEST_CASE("start() keeps a closure, and reports nothing or what only moves") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    const auto plain = [&out](started<void>& ready) -> task<> {
      ready.report();
      co_await kedge::yield();
      out += 'p';
    };
    co_await s.start(plain);
    auto moves = [&out, kept = std::make_unique<int>(1)](started<std::unique_ptr<int>>& ready,
                                                         std::unique_ptr<int> p) mutable -> task<> {
      ready.report(std::move(p));
      co_await run_for(3);
      out += std::to_string(*kept);
    };
    const std::unique_ptr<int> p = co_await s.start(std::ref(moves), std::make_unique<int>(5));
    CHECK(*p == 5);
    co_await run_for(5);  // std::ref: the closure must live as long as the child
  }));
  CHECK(out == "p1");
}

TEST_CASE("a child may report in its call, before it begins, and need not be a coroutine") {
  loop l;
  gate g;
  l.run(with_scope([&](scope& s) -> task<> {
    const auto wait = [&g](started<int>& ready) {
      ready.report(3);
      return g.wait();
    };
    CHECK(co_await s.start(wait) == 3);
    CHECK(s.size() == 1);
    g.open();
  }));
  CHECK(g.started == 1);
  CHECK(g.cancelled == 0);
}

TEST_CASE("start() takes what background(), named() and handled() give") {
  loop l;
  std::string out;
  const auto beat = [&out](started<int>& ready, int value) -> task<> {
    const mark end(out, 'c');
    ready.report(value);
    co_await kedge::forever();
  };
  const auto fail = [&out](started<int>& ready, bool has_reported) -> task<> {
    if (has_reported) ready.report(1);
    co_await kedge::yield();
    out += 'f';
    throw std::runtime_error("the child");
  };
  const auto on_failure = [&out](std::exception_ptr) { out += 'h'; };
  const auto body = [&](scope& s) -> task<> {
    const auto heart = kedge::background(kedge::named("beat", beat));
    CHECK(co_await s.start(heart, 7) == 7);
    const auto watched = kedge::handled(fail, on_failure);
    CHECK(co_await s.start(watched, true) == 1);
    std::error_code code;
    try {
      co_await s.start(watched, false);
    } catch (const std::system_error& e) {
      code = e.code();
    }
    CHECK(code == kedge::errc::abandoned);
    std::ostringstream tree;
    l.dump(tree);
    CHECK(tree.str().find("\"beat\"") != std::string::npos);
    out += 'b';
  };
  l.run(with_scope(body));  // ends, although the first child waits for ever
  CHECK(out == "fhfhbc");
}

TEST_CASE("a child that ends before it has reported fails the start, not the scope") {
  loop l;
  gate g;
  const auto code_of = [](scope& s, auto fn) -> task<std::error_code> {
    try {
      co_await s.start(fn);
    } catch (const std::system_error& e) {
      CHECK(s.failures().empty());
      co_return e.code();
    }
    co_return std::error_code();
  };
  l.run(with_scope([&](scope& s) -> task<> {
    bool thrown = false;
    try {
      co_await s.start([](started<int>&) -> task<> {
        co_await kedge::yield();
        throw std::logic_error("x");
      });
    } catch (const std::logic_error&) {
      thrown = true;
    }
    CHECK(thrown);
    thrown = false;
    try {
      co_await s.start([](started<int>&) -> kedge::yield { throw std::logic_error("call"); });
    } catch (const std::logic_error&) {
      thrown = true;
    }
    CHECK(thrown);
    const auto ends = [](started<void>&) -> task<> { co_return; };
    CHECK(co_await code_of(s, ends) == kedge::errc::abandoned);
    g.is_open = true;
    const auto ends_at_once = [&g](started<int>&) { return g.wait(); };
    CHECK(co_await code_of(s, ends_at_once) == kedge::errc::abandoned);
    CHECK_FALSE(s.cancelled());
    CHECK(s.size() == 0);
  }));
}

TEST_CASE("a child that fails after its report fails the scope") {
  loop l;
  int got = 0;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
    got = co_await s.start([](started<int>& ready) -> task<> {
      ready.report(1);
      co_await kedge::yield();
      throw std::logic_error("x");
    });
    co_await kedge::forever();
  })),
                  std::logic_error);
  CHECK(got == 1);
}

TEST_CASE("a second report throws, and fails the scope") {
  loop l;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
    co_await s.start([](started<int>& ready) -> task<> {
      ready.report(1);
      ready.report(2);
      co_return;
    });
    co_await kedge::forever();
  })),
                  std::logic_error);
}

TEST_CASE("a cancelled start cancels its child, awaits it, and takes no report any more") {
  loop l;
  std::string out;
  gate g;
  SUBCASE("a task that cleans up, and reports late") {
    const auto child = [&](started<int>& ready) -> task<> {
      const mark end(out, 'e');
      static_cast<void>(co_await kedge::attempt(kedge::forever()));
      ready.report(1);
      co_await kedge::shield(run_for(3));
      out += 'c';
      co_await kedge::yield();
      out += 'x';
    };
    l.run(with_scope([&](scope& s) -> task<> {
      CHECK_FALSE((co_await kedge::with_timeout(0s, s.start(child))).has_value());
      out += 'b';
      CHECK_FALSE(s.cancelled());
      CHECK(s.size() == 0);
    }));
    CHECK(out == "ceb");
  }
  SUBCASE("a leaf") {
    const auto leaf = [&g](started<int>&) { return g.wait(); };
    l.run(with_scope([&](scope& s) -> task<> {
      CHECK_FALSE((co_await kedge::with_timeout(0s, s.start(leaf))).has_value());
      CHECK(s.size() == 0);
    }));
    CHECK(g.cancelled == 1);
  }
  SUBCASE("a task that fails: the failure is the start's") {
    const auto child = [&](started<int>&) -> task<> {
      static_cast<void>(co_await kedge::attempt(kedge::forever()));
      throw std::logic_error("x");
    };
    l.run(with_scope([&](scope& s) -> task<> {
      bool thrown = false;
      try {
        static_cast<void>(co_await kedge::with_timeout(0s, s.start(child)));
      } catch (const std::logic_error&) {
        thrown = true;
      }
      CHECK(thrown);
      CHECK(s.failures().empty());
    }));
  }
  SUBCASE("a child that waits for room is dropped") {
    const auto child = [](started<int>&, mark) -> task<> { co_await kedge::forever(); };
    l.run(with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      s.spawn(g.wait());
      s.spawn(run_for, 1);
      auto late = s.start(child, mark(out, 'a'));
      CHECK_FALSE((co_await kedge::with_timeout(0s, std::move(late))).has_value());
      s.spawn(run_for, 1);
      CHECK(s.size() == 3);
      co_await run_for(3);
      CHECK(out == "a");
      g.open();
    }));
  }
}

TEST_CASE("a start whose scope is cancelled or drains fails a starter from outside") {
  loop l;
  scope* inner = nullptr;
  int turns = 0;
  std::error_code code;
  const auto start_from_outside = [&]() -> task<> {
    while (inner == nullptr) co_await kedge::yield();
    co_await run_for(turns);
    try {
      co_await inner->start([](started<int>&) -> task<> { co_await kedge::forever(); });
    } catch (const std::system_error& e) {
      code = e.code();
    }
  };
  SUBCASE("cancelled") {
    const auto body = [&](scope& s) -> task<> {
      inner = &s;
      co_await run_for(5);
      s.cancel();
    };
    l.run(kedge::when_all(with_scope(body), start_from_outside()));
    CHECK(code == kedge::errc::cancelled);
  }
  SUBCASE("drains") {
    const auto body = [&](scope& s) -> task<> {
      inner = &s;
      s.drain(1h);
      co_await run_for(5);
    };
    l.run(kedge::when_all(with_scope(body), start_from_outside()));
    CHECK(code == kedge::errc::closed);
  }
  SUBCASE("ended") {
    turns = 3;  // a scope whose body has just ended still takes children
    const auto body = [&](scope& s) -> task<> {
      inner = &s;
      co_return;
    };
    l.run(kedge::when_all(with_scope(body), start_from_outside()));
    CHECK(code == kedge::errc::closed);
  }
}

TEST_CASE("a sibling's failure that ends a start is the failure of the scope") {
  loop l;
  std::vector<std::exception_ptr> failures;
  const auto body = [&](scope& s) -> task<> {
    s.spawn([]() -> task<> {
      co_await run_for(2);
      throw std::runtime_error("sibling");
    });
    co_await s.start([](started<int>&) -> task<> { co_await kedge::forever(); });
  };
  CHECK_THROWS_WITH_AS(l.run(with_scope(body, failures)), "sibling", std::runtime_error);
  CHECK(failures.size() == 1);
}

TEST_CASE("a start in a full scope that waits for its own starter is reported as a deadlock") {
  loop l;
  const auto starts_another = [](scope& s) -> task<> {
    co_await s.start([](started<int>&) -> task<> { co_return; });
  };
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
    s.set_limit(1);
    s.spawn(starts_another, std::ref(s));
    co_return;
  })),
                  kedge::deadlock);
}

TEST_CASE("a start that is not awaited begins nothing, and may outlive the scope") {
  loop l;
  std::string out;
  using made = decltype(std::declval<scope&>().start(serve, 1, std::ref(out)));
  std::optional<made> kept;
  std::error_code code;
  const auto run = [&]() -> task<> {
    const auto body = [&](scope& s) -> task<> {
      kept.emplace(s.start(serve, 1, std::ref(out)));
      CHECK(s.size() == 0);
      co_return;
    };
    co_await with_scope(body);
    try {
      co_await *std::move(kept);
    } catch (const std::system_error& e) {
      code = e.code();
    }
  };
  l.run(run());
  CHECK(code == kedge::errc::closed);
  CHECK(out.empty());
}

TEST_CASE("a report that came before the cancellation of its start is delivered") {
  loop l;
  std::string out;
  l.spawn([&]() -> task<> {
    const mark scope_end(out, 'C');
    co_await with_scope([&](scope& s) -> task<> {
      const int value = co_await s.start([&](started<int>& ready) -> task<> {
        ready.report(4);
        l.cancel();
        co_await kedge::forever();
      });
      out += std::to_string(value);
      co_await kedge::yield();
      out += 'x';
    });
  });
  while (l.size() != 0) l.poll();
  CHECK(out == "4C");
}

TEST_CASE("a suspended start is destroyed with its child") {
  std::string out;
  gate g;
  for (const bool is_leaf : {false, true}) {
    CAPTURE(is_leaf);
    loop l;
    const auto child = [&](started<int>&) -> task<> {
      const mark local(out, 'c');
      co_await g.wait();
    };
    const auto leaf = [&](started<int>&) { return g.wait(); };
    const auto body = [&](scope& s) -> task<> {
      const mark local(out, 'b');
      if (is_leaf) {
        co_await s.start(leaf);
      } else {
        co_await s.start(child);
      }
    };
    l.spawn(with_scope(body));
    while (g.waiting == nullptr) l.poll();
  }
  CHECK(out == "cbb");
  CHECK(g.made == g.destroyed);
}

}  // namespace
