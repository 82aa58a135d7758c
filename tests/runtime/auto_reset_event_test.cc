#include "kedge/runtime/auto_reset_event.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "drain.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"

namespace {

using kedge::auto_reset_event;
using kedge::loop;
using kedge::settle;
using kedge::task;

task<> wait(auto_reset_event& e, std::string& out, char name) {
  const auto end = co_await e.wait();
  out += end ? name : 'x';
  if (!end) CHECK(end.error() == kedge::errc::closed);
}

TEST_CASE("an auto_reset_event lets one task go for each set(), in the order of their waits") {
  auto_reset_event e;
  loop l;
  std::string out;
  for (const char name : {'a', 'b', 'c'}) l.spawn(wait, std::ref(e), std::ref(out), name);
  settle(l);
  e.set();
  settle(l);
  CHECK(out == "a");
  e.set();
  e.set();
  settle(l);
  CHECK(out == "abc");
  CHECK_FALSE(e.is_set());
}

TEST_CASE("set() without a task that waits counts once") {
  auto_reset_event e;
  loop l;
  std::string out;
  e.set();
  e.set();
  l.run(wait(e, out, 'a'));
  CHECK(out == "a");
  CHECK_FALSE(e.is_set());
  e.set();
  e.reset();
  CHECK_FALSE(e.is_set());
}

TEST_CASE("a set() that a task was let go by, and that is destroyed before its turn, goes on") {
  auto_reset_event e;
  std::string out;
  loop other;
  {
    loop l;
    l.spawn(wait, std::ref(e), std::ref(out), 'a');
    settle(l);
    SUBCASE("to the next task that waits") {
      other.spawn(wait, std::ref(e), std::ref(out), 'b');
      settle(other);
      e.set();
    }
    SUBCASE("to a later one, since the event is set again") {
      e.set();
      CHECK_FALSE(e.is_set());
    }
  }
  if (other.size() == 0) {
    CHECK(e.is_set());
    other.spawn(wait, std::ref(e), std::ref(out), 'b');
  }
  settle(other);
  CHECK(out == "b");
  CHECK_FALSE(e.is_set());
}

TEST_CASE("an auto_reset_event that is destroyed gives errc::closed") {
  auto e = std::make_unique<auto_reset_event>();
  loop l;
  std::string out;
  l.spawn(wait, std::ref(*e), std::ref(out), 'a');
  settle(l);
  auto later = e->wait();
  e.reset();
  settle(l);
  CHECK(out == "x");
  CHECK(l.run(std::move(later)).error() == kedge::errc::closed);
}

}  // namespace
