#include "kedge/runtime/task_local.h"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using kedge::loop;
using kedge::scope;
using kedge::task;
using kedge::with_value;
using namespace std::chrono_literals;

constinit const kedge::task_local<int> number(-1);
const kedge::task_local<std::string> name("nobody");

task<int> read_number() {
  co_return co_await number.get();
}
task<int> read_after_a_turn() {
  co_await kedge::yield();
  co_return co_await read_number();
}

TEST_CASE("a task reads the value that is bound around it, and the key's own outside") {
  loop l;
  const auto run = []() -> task<> {
    CHECK(co_await number.get() == -1);
    CHECK(co_await with_value(number, 7, read_number()) == 7);
    CHECK(co_await with_value(number, 7, read_after_a_turn()) == 7);
    CHECK(co_await with_value(number, 7, number.get()) == 7);
    CHECK(co_await number.get() == -1);
  };
  l.run(run());
}

TEST_CASE("the nearest value hides those around it, and keys do not meet") {
  loop l;
  const auto inner = []() -> task<> {
    CHECK(co_await number.get() == 2);
    CHECK(co_await name.get() == "inner");
  };
  const auto outer = [&]() -> task<> {
    co_await with_value(number, 2, with_value(name, "inner", inner()));
    CHECK(co_await number.get() == 1);
    CHECK(co_await name.get() == "nobody");
  };
  l.run(with_value(number, 1, outer()));
}

TEST_CASE("children, combinators and shielded work inherit the value") {
  loop l;
  std::vector<int> seen;
  const auto note = [&]() -> task<> { seen.push_back(co_await read_after_a_turn()); };
  const auto body = [&](scope& s) -> task<> {
    s.spawn(note);
    s.spawn([&]() { return note(); });
    co_await kedge::shield(note());
    (void)co_await kedge::attempt(note());
    (void)co_await kedge::with_timeout(1h, note());
    co_await kedge::when_all(note(), note());
    co_await note();
  };
  l.run(with_value(number, 5, kedge::with_scope(body)));
  CHECK(seen == std::vector<int>(8, 5));
}

TEST_CASE("a child that is spawned into a scope around the binding has the values of that scope") {
  loop l;
  std::vector<int> seen;
  const auto note = [&](int turns) -> task<> {
    while (turns-- > 0) co_await kedge::yield();
    seen.push_back(co_await read_number());
  };
  const auto body = [&](scope& s) -> task<> {
    const auto spawn = [&]() -> task<> {
      s.spawn(note, 10);
      l.spawn(note, 20);
      co_await note(0);
    };
    co_await with_value(number, 2, spawn());
  };
  l.run(with_value(number, 1, kedge::with_scope(body)));
  while (l.size() != 0) l.poll();
  CHECK(seen == std::vector{2, 1, -1});
}

TEST_CASE("a value is moved in, is destroyed with its binding, and is passed by reference") {
  loop l;
  const kedge::task_local<std::shared_ptr<int>> shared;
  auto given = std::make_shared<int>(3);
  const std::weak_ptr<int> watched = given;
  const auto read = [&]() -> task<const void*> {
    CHECK(*co_await shared.get() == 3);
    co_return &co_await shared.get();
  };
  const auto run = [&]() -> task<> {
    const auto twice = [&]() -> task<> {
      const void* const first = co_await read();
      CHECK(co_await read() == first);
    };
    co_await with_value(shared, std::move(given), twice());
    CHECK(watched.expired());
    CHECK(co_await shared.get() == nullptr);
  };
  l.run(run());
}

TEST_CASE("with_value() passes on the value, the failure and the cancellation of what it awaits") {
  loop l;
  const auto fail = []() -> task<> {
    co_await kedge::yield();
    throw std::runtime_error("failed");
  };
  CHECK_THROWS_AS(l.run(with_value(number, 1, fail())), std::runtime_error);
  CHECK_THROWS_AS(l.run(kedge::when_all(with_value(number, 1, fail()), kedge::sleep_for(1h))),
                  std::runtime_error);
  CHECK_FALSE(l.run(kedge::with_timeout(0s, with_value(number, 1, kedge::sleep_for(1h)))));
  const auto sleep = []() -> task<> { co_await kedge::sleep_for(1h); };
  l.spawn(with_value(number, 1, sleep()));
  l.poll();
  l.cancel();
  l.poll();
  CHECK(l.size() == 0);
}

TEST_CASE("a value can be read in a cancelled task, and while the loop is destroyed it is there") {
  int seen = 0;
  {
    loop l;
    const auto run = [&](scope& s) -> task<> {
      s.cancel();
      seen = co_await number.get();
    };
    l.run(with_value(number, 4, kedge::with_scope(run)));
    CHECK(seen == 4);
    const auto wait = [&]() -> task<> {
      struct at_end {
        explicit at_end(int& s, const std::string& v) noexcept : out(s), value(v) {}
        ~at_end() { out = static_cast<int>(value.size()); }
        int& out;
        const std::string& value;
      };
      const at_end later(seen, co_await name.get());
      co_await kedge::sleep_for(1h);
    };
    l.spawn(with_value(name, std::string(40, 'x'), wait()));
    l.poll();
  }
  CHECK(seen == 40);
}

}  // namespace
