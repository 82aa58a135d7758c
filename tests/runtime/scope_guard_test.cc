#include "kedge/runtime/scope_guard.h"

#include <doctest/doctest.h>

#include <ostream>
#include <stdexcept>
#include <string>

#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/this_task.h"
#include "kedge/runtime/yield.h"

namespace {

using kedge::loop;
using kedge::on_cancel;
using kedge::scope_fail;
using kedge::scope_success;
using kedge::task;

enum class way { ends, throws, is_cancelled };

// Appends a letter for each guard that runs, the latest first.
task<> guarded(way w, std::string& out) {
  const scope_success success([&] { out += 's'; });
  const scope_fail fail([&] { out += 'f'; });
  const on_cancel cancel([&] { out += 'c'; });
  co_await kedge::yield();
  if (w == way::throws) throw std::runtime_error("x");
  if (w == way::is_cancelled) co_await kedge::forever();
}

TEST_CASE("scope_success runs at a normal end, scope_fail at an exception, on_cancel at neither") {
  loop l;
  std::string out;
  l.run(guarded(way::ends, out));
  CHECK(out == "s");
  out.clear();
  CHECK_THROWS_AS(l.run(guarded(way::throws, out)), std::runtime_error);
  CHECK(out == "f");
}

TEST_CASE("on a cancellation on_cancel and scope_fail run, and scope_success does not") {
  std::string out;
  loop l;
  l.spawn(guarded(way::is_cancelled, out));
  while (l.poll()) {
  }
  CHECK(out.empty());
  l.cancel();
  while (l.size() != 0) l.poll();
  CHECK(out == "cf");
}

TEST_CASE("a task that is destroyed with its loop counts as cancelled") {
  std::string out;
  {
    loop l;
    l.spawn(guarded(way::is_cancelled, out));
    l.poll();
    l.poll();
  }
  CHECK(out == "cf");
}

// Its destructor calls a function with guards of its own.
struct calls_guarded {
  explicit calls_guarded(std::string& o) : out(o) {}
  calls_guarded(const calls_guarded&) = delete;
  calls_guarded& operator=(const calls_guarded&) = delete;
  ~calls_guarded() {
    unwinding = kedge::this_task::unwinding();
    const scope_success success([this] { out += 's'; });
    const scope_fail fail([this] { out += 'f'; });
    const on_cancel cancel([this] { out += 'c'; });
  }
  std::string& out;
  static inline bool unwinding = false;
};

TEST_CASE("guards in a function that a destructor calls see how that function ends") {
  std::string out;
  SUBCASE("during a cancellation") {
    loop l;
    l.spawn([&]() -> task<> {
      const calls_guarded last(out);
      co_await kedge::forever();
    });
    l.poll();
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(calls_guarded::unwinding);
  }
  SUBCASE("during an exception") {
    try {
      const calls_guarded last(out);
      throw std::runtime_error("x");
    } catch (const std::runtime_error&) {
    }
    CHECK_FALSE(calls_guarded::unwinding);
  }
  SUBCASE("at a normal end") {
    {
      const calls_guarded last(out);
    }
    CHECK_FALSE(calls_guarded::unwinding);
  }
  CHECK(out == "s");
}

}  // namespace
