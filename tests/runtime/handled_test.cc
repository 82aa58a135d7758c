#include "kedge/runtime/handled.h"

#include <doctest/doctest.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "gate.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::handled;
using kedge::loop;
using kedge::mark;
using kedge::scope;
using kedge::task;
using kedge::with_scope;

std::string what_of(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  }
}
task<> fail(std::string what) {
  co_await kedge::yield();
  throw std::runtime_error(what);
}

TEST_CASE("the failure of a handled child goes to its handler, and the others run on") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    const auto note = [&out](const std::exception_ptr& e) { out += what_of(e); };
    s.spawn(handled(fail, note), "a");
    s.spawn([&]() -> task<> {
      for (int i = 0; i < 10; ++i) co_await kedge::yield();
      CHECK(s.failures().empty());
      CHECK_FALSE(s.cancelled());
      out += 'b';
    });
    co_return;
  }));
  CHECK(out == "ab");
}

TEST_CASE("a handled child that does not fail calls no handler, and keeps what it was given") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(handled(
                [&out, held = std::make_unique<int>(3)](std::unique_ptr<int> p,
                                                        std::string& shared) -> task<> {
                  co_await kedge::yield();
                  out += std::to_string(*held + *p);
                  shared += '!';
                },
                [&out](const std::exception_ptr&) { out += 'x'; }),
            std::make_unique<int>(4), std::ref(out));
    co_return;
  }));
  CHECK(out == "7!");
}

TEST_CASE(
    "a handler handles what the call of a function throws, and failures of other awaitables") {
  loop l;
  gate g;
  g.is_open = g.fails = true;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    const auto note = [&out](const std::exception_ptr& e) { out += what_of(e); };
    s.spawn(handled([]() -> kedge::yield { throw std::logic_error("call "); }, note));
    s.spawn(handled([&g] { return g.wait(); }, note));
    co_return;
  }));
  CHECK(out == "call failed");
}

TEST_CASE("the scope awaits a handler that waits") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(handled(fail,
                    [&out](std::exception_ptr e) -> task<> {
                      co_await kedge::yield();
                      out += what_of(e);
                    }),
            "slow");
    co_return;
  }));
  CHECK(out == "slow");
}

TEST_CASE("an exception of a handler fails the scope") {
  loop l;
  std::string thrown;
  try {
    l.run(with_scope([](scope& s) -> task<> {
      s.spawn(handled(fail, [](std::exception_ptr) { throw std::logic_error("handler"); }), "a");
      co_await kedge::sleep_for(1000h);
    }));
  } catch (const std::logic_error& e) {
    thrown = e.what();
  }
  CHECK(thrown == "handler");
}

TEST_CASE("a cancellation ends a handled child, and its handler, as cancelled") {
  loop l;
  gate g;
  std::string out;
  const auto spawn = [&](auto fn, auto on_failure) {
    l.spawn([&, fn, on_failure]() -> task<> {
      const mark scope_end(out, 'C');
      co_await with_scope([&](scope& s) {  // the caller ends as cancelled with its child
        s.spawn(handled(fn, on_failure));
        return kedge::yield();
      });
      out += 'x';
    });
    while (g.waiting == nullptr) l.poll();
    l.cancel();
    while (l.size() != 0) l.poll();
  };
  SUBCASE("in the function") {
    spawn([&g] { return g.wait(); }, [&out](const std::exception_ptr&) { out += 'h'; });
    CHECK(out == "C");
  }
  SUBCASE("in the handler") {
    spawn([] { return fail("x"); },
          [&](const std::exception_ptr&) -> task<> {
            const mark local(out, 'h');
            co_await g.wait();
            out += 'x';
          });
    CHECK(out == "hC");
  }
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a handled child that is destroyed where it waits calls no handler") {
  std::string out;
  gate g;
  {
    loop l;
    l.spawn(handled([&g] { return g.wait(); }, [&out](const std::exception_ptr&) { out += 'h'; }));
    while (g.waiting == nullptr) l.poll();
  }
  CHECK(out.empty());
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a loop takes handled tasks") {
  loop l;
  std::string out;
  l.spawn(handled(fail, [&out](const std::exception_ptr& e) { out += what_of(e); }), "a");
  while (l.size() != 0) l.poll();
  CHECK(out == "a");
}

}  // namespace
