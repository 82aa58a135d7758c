#include "kedge/runtime/attempt.h"

#include <doctest/doctest.h>

#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "drain.h"
#include "gate.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::attempt;
using kedge::attempted;
using kedge::cancel_cause;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::task;
using kedge::virtual_time;

task<int> after(gate& g) {
  co_return co_await g.wait();
}
// What an attempt reports: the value, 'f'ailed with its message, or 'c'ancelled with its cause.
std::string report_of(attempted<int> end) {
  if (end.cancelled()) return "c" + std::to_string(static_cast<int>(end.cause()));
  if (!end.failed()) return std::to_string(*end);
  try {
    std::rethrow_exception(end.failure());
  } catch (const std::runtime_error& e) {
    return std::string("f ") + e.what();
  }
}
std::string cancelled_by(cancel_cause cause) {
  return "c" + std::to_string(static_cast<int>(cause));
}
// Attempts to await the gate, as a leaf or within a task.
task<std::string> attempt_gate(gate& g, bool in_task) {
  if (in_task) co_return report_of(co_await attempt(after(g)));
  co_return report_of(co_await attempt(g.wait()));
}

TEST_CASE("attempt() reports the value of a leaf and of a task, at once and after a wait") {
  for (const bool in_task : {false, true}) {
    for (const bool open : {false, true}) {
      CAPTURE(in_task);
      CAPTURE(open);
      loop l;
      gate g;
      g.is_open = open;
      std::string report;
      l.spawn([&]() -> task<> { report = co_await attempt_gate(g, in_task); });
      l.poll();
      g.open();
      drain(l);
      CHECK(report == "42");
      CHECK(g.made == g.destroyed);
    }
  }
}

TEST_CASE("attempt() reports the failure of a leaf and of a task, and does not throw it") {
  for (const bool in_task : {false, true}) {
    for (const bool refuses : {false, true}) {
      CAPTURE(in_task);
      CAPTURE(refuses);
      loop l;
      gate g;
      g.is_open = !refuses;
      g.fails = true;
      g.refuses = refuses;
      CHECK(l.run(attempt_gate(g, in_task)) == (refuses ? "f refused" : "f failed"));
    }
  }
}

TEST_CASE("attempt() reports a cancellation with its cause, and the next wait ends the chain") {
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    loop l;
    gate g;
    std::string out;
    l.spawn([&]() -> task<> {
      const mark end(out, 'e');
      out += co_await attempt_gate(g, in_task);
      co_await kedge::yield();
      out += 'x';
    });
    l.poll();
    l.cancel();
    CHECK(out.empty());
    drain(l);
    CHECK(out == cancelled_by(cancel_cause::requested) + "e");
    CHECK(g.cancelled == 1);
    CHECK(g.made == g.destroyed);
  }
}

TEST_CASE("attempt() delivers a value that arrived before the cancellation") {
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    loop l;
    gate g;
    std::string report;
    l.spawn([&]() -> task<> { report = co_await attempt_gate(g, in_task); });
    l.poll();
    SUBCASE("before the cancellation") {
      g.open();
      l.cancel();
    }
    SUBCASE("at the cancellation") {
      g.answer = gate::cancelling::completes;
      l.cancel();
    }
    drain(l);
    CHECK(report == "42");
  }
}

TEST_CASE(
    "in a cancelled context attempt() begins, never asks the operation, and reports each time") {
  for (const bool in_task : {false, true}) {
    CAPTURE(in_task);
    loop l;
    gate g;
    g.is_open = true;
    std::string out;
    l.spawn([&]() -> task<> {
      l.cancel();
      for (int i = 0; i < 3; ++i) out += co_await attempt_gate(g, in_task);
    });
    drain(l);
    const std::string one = cancelled_by(cancel_cause::requested);
    CHECK(out == one + one + one);
    CHECK(g.asked == 0);
  }
}

TEST_CASE("in a cancelled context attempt() reports the value of a task that does not wait") {
  loop l;
  int value = 0;
  l.spawn([&]() -> task<> {
    l.cancel();
    value = *(co_await attempt([]() -> task<int> { co_return 8; }()));
  });
  drain(l);
  CHECK(value == 8);
}

TEST_CASE("each attempt() around another one reports the cancellation at its own level") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    const auto inner = [](gate& at, std::string& o) -> task<> {
      o += (co_await attempt(at.wait())).cancelled() ? "i" : "x";
      o += (co_await attempt(kedge::yield())).cancelled() ? "i" : "x";
      co_await kedge::yield();
      o += "x";
    };
    out += (co_await attempt(inner(g, out))).cancelled() ? "o" : "x";
  });
  l.poll();
  l.cancel();
  drain(l);
  CHECK(out == "iio");
}

TEST_CASE("attempt() tells a deadline, a failed sibling and a won race apart") {
  virtual_time time;
  loop l(time);
  gate g, h;
  std::string out;
  static_cast<void>(l.run(kedge::with_timeout(1ns, [](gate& at, std::string& o) -> task<> {
    o = report_of(co_await attempt(at.wait()));
  }(g, out))));
  CHECK(out == cancelled_by(cancel_cause::deadline));
  CHECK_THROWS_AS(l.run(kedge::when_all(
                      [](gate& at, std::string& o) -> task<> {
                        o = report_of(co_await attempt(after(at)));
                      }(g, out),
                      []() -> task<> {
                        co_await kedge::yield();
                        throw std::runtime_error("sibling");
                      }())),
                  std::runtime_error);
  CHECK(out == cancelled_by(cancel_cause::failure));
  h.is_open = true;
  // A branch that has an attempt of its own: as a leaf that loses, attempt() itself has a value.
  const auto [report, won] = l.run(kedge::when_any(attempt(g.wait()), h.wait()));
  REQUIRE(report);
  CHECK(report_of(*report) == cancelled_by(cancel_cause::superseded));
  CHECK(won);
}

TEST_CASE("attempt() of a scope or a combinator cancels what it holds") {
  loop l;
  gate g, h;
  std::string out;
  l.spawn([&]() -> task<> {
    const auto body = [&](kedge::scope& s) -> task<> {
      s.spawn(h.wait());
      co_await g.wait();
    };
    out += (co_await attempt(kedge::with_scope(std::ref(body)))).cancelled() ? 's' : 'x';
    out += (co_await attempt(kedge::when_all(g.wait(), after(h)))).cancelled() ? 'a' : 'x';
  });
  while (g.waiting == nullptr || h.waiting == nullptr) l.poll();
  l.cancel();
  drain(l);
  CHECK(out == "sa");
  CHECK(g.cancelled == 1);
  CHECK(h.cancelled == 1);
  CHECK(g.made == g.destroyed);
  CHECK(h.made == h.destroyed);
}

TEST_CASE("an attempted gives void, move-only values and references, or throws") {
  loop l;
  int n = 5;
  l.run([](int& shared) -> task<> {
    static_assert(std::is_same_v<decltype(std::declval<attempted<int&>>().value()), int&>);
    const auto done = co_await attempt(kedge::yield());
    CHECK(done.has_value());
    CHECK(done.failure() == nullptr);
    auto owned = co_await attempt(
        []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }());
    const std::unique_ptr<int> p = std::move(owned).value();
    CHECK(*p == 3);
    auto referred = co_await attempt([](int& i) -> task<int&> { co_return i; }(shared));
    CHECK(&*referred == &shared);
    CHECK(&std::move(referred).value() == &shared);
  }(n));
  CHECK_THROWS_AS(attempted<int>(std::make_exception_ptr(std::logic_error("x"))).value(),
                  std::logic_error);
  CHECK_THROWS_AS(attempted<void>(cancel_cause::deadline).value(), kedge::cancelled);
}

// A task that attempts to wait `times` times.
task<> attempt_often(int times) {
  for (int i = 0; i < times; ++i) {
    static_cast<void>(co_await attempt(kedge::sleep_for(1000h)));
  }
}

TEST_CASE(
    "999 reports in one chain are harmless, the 1,000th ends the program with the task's name") {
  loop l;
  l.spawn(attempt_often(999));
  l.poll();
  l.cancel();
  drain(l);

  const int spawned = __LINE__ + 3;
  const kedge::program_end end = kedge::in_child_process([] {
    loop own;
    own.spawn(attempt_often(1000));
    own.poll();
    own.cancel();
    drain(own);
  });
  CHECK(end.aborted());
  CHECK(end.says("child ("));
  CHECK(end.says("attempt_test.cc:" + std::to_string(spawned)));
  CHECK(end.says("cancelled 1000 times"));
}

TEST_CASE("a loop destroyed at any stage of an attempt destroys its operations once") {
  for (int drives = 0; drives < 4; ++drives) {
    for (const bool open : {false, true}) {
      CAPTURE(drives);
      CAPTURE(open);
      gate g, h;
      {
        loop l;
        l.spawn(attempt(g.wait()));
        l.spawn(attempt(attempt(after(h))));
        for (int i = 0; i < drives; ++i) l.poll();
        if (open) g.open();
        if (open) h.open();
      }
      CHECK(g.made == g.destroyed);
      CHECK(h.made == h.destroyed);
      CHECK(g.waiting == nullptr);
    }
  }
}

TEST_CASE("an attempted that is const can be read, as a result can") {
  const attempted<std::string> text(std::in_place, [] { return std::string("text"); });
  CHECK(*text == "text");
  CHECK(text.value() == "text");
  CHECK(text->size() == 4);
  static_assert(std::is_same_v<decltype(*text), const std::string&>);

  attempted<std::string> mine(std::in_place, [] { return std::string("text"); });
  mine->append("s");
  const std::string moved = *std::move(mine);
  CHECK(moved == "texts");

  std::string referred = "a";
  const attempted<std::string&> reference(std::in_place,
                                          [&]() -> std::string& { return referred; });
  reference->append("b");
  CHECK(*reference == "ab");
  CHECK(&reference.value() == &referred);

  const attempted<void> nothing(std::in_place, [] {});
  nothing.value();
  const attempted<int> cancelled(cancel_cause::deadline);
  CHECK_THROWS_AS(static_cast<void>(cancelled.value()), kedge::cancelled);
}

}  // namespace
