#include "kedge/runtime/this_task.h"
#include "kedge/runtime/shield.h"

#include <doctest/doctest.h>
#include <chrono>

#include <cstring>
#include <optional>
#include <ostream>
#include <source_location>
#include <string>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;
using kedge::task_state;
namespace this_task = kedge::this_task;

task<task_state> own_state() {
  co_return co_await this_task::state();
}

TEST_CASE("state() tells a task's name, its place, and that nothing limits it") {
  loop l;
  const unsigned line = std::source_location::current().line() + 1;
  const task_state s = l.run(own_state());
  CHECK(std::string(s.name) == "run");
  CHECK(s.place.line() == line);
  CHECK(std::strstr(s.place.file_name(), "this_task_test.cc") != nullptr);
  CHECK_FALSE(s.time_left);
  CHECK_FALSE(s.cancelled);
}

TEST_CASE("in a child and in a branch state() tells the place where the task was spawned") {
  loop l;
  std::optional<task_state> child;
  std::optional<task_state> branch;
  unsigned line = 0;
  const auto body = [&](kedge::scope& s) -> task<> {
    line = std::source_location::current().line() + 1;
    s.spawn([&]() -> task<> {
      child = co_await this_task::state();
      const auto [in_branch, turn] = co_await kedge::when_all(own_state(), kedge::yield());
      branch = in_branch;
    });
    co_return;
  };
  l.run(kedge::with_scope(body));
  CHECK(std::string(child->name) == "child");
  CHECK(child->place.line() == line);
  CHECK(std::string(branch->name) == "when_all");
  CHECK(branch->place.line() == line);
}

TEST_CASE("state() tells the time until the nearest deadline, and zero after it") {
  kedge::virtual_time time;
  loop l(time);
  std::optional<kedge::clock::duration> outermost;
  std::optional<kedge::clock::duration> innermost;
  std::optional<kedge::clock::duration> past;
  l.spawn([&]() -> task<> {
    const auto outer = [&]() -> task<> {
      const auto middle = [&]() -> task<> {
        outermost = (co_await this_task::state()).time_left;
        const auto inner = [&]() -> task<> {
          innermost = (co_await this_task::state()).time_left;
          time.advance(2s);
          past = (co_await this_task::state()).time_left;
        };
        static_cast<void>(co_await kedge::with_timeout(1s, inner));
      };
      static_cast<void>(co_await kedge::with_timeout(20s, middle));
    };
    static_cast<void>(co_await kedge::with_timeout(10s, outer));
    CHECK_FALSE((co_await this_task::state()).time_left);
  });
  while (l.size() != 0) l.poll();
  CHECK(outermost == 10s);
  CHECK(innermost == 1s);
  CHECK(past == 0s);
}

TEST_CASE("state() tells a cancelled task the cause, and does not end it") {
  loop l;
  std::optional<kedge::cancel_cause> cause;
  bool ended = true;
  l.spawn([&]() -> task<> {
    l.cancel();
    cause = (co_await this_task::state()).cancelled;
    co_await kedge::yield();
    ended = false;
  });
  while (l.size() != 0) l.poll();
  CHECK(cause == kedge::cancel_cause::requested);
  CHECK(ended);
}

TEST_CASE("no deadline from outside limits a shield") {
  kedge::loop l;
  bool limited = true;
  const auto inner = [&]() -> kedge::task<> {
    limited = (co_await kedge::this_task::state()).time_left.has_value();
  };
  const auto outer = [&]() -> kedge::task<> { co_await kedge::shield(inner()); };
  CHECK(l.run(kedge::with_timeout(std::chrono::seconds(1), outer())));
  CHECK_FALSE(limited);
}

}  // namespace
