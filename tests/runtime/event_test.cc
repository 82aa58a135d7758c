#include "kedge/runtime/event.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "drain.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/task.h"

namespace {

using kedge::event;
using kedge::loop;
using kedge::settle;
using kedge::task;

// Appends `name` when the event has let it go, or 'x' if it was closed.
task<> wait(event& e, std::string& out, char name) {
  const auto end = co_await e.wait();
  out += end ? name : 'x';
  if (!end) CHECK(end.error() == kedge::errc::closed);
}

TEST_CASE("an event lets all tasks go that wait, in their order, and those that come later") {
  event e;
  loop l;
  std::string out;
  l.spawn(wait, std::ref(e), std::ref(out), 'a');
  l.spawn(wait, std::ref(e), std::ref(out), 'b');
  settle(l);
  CHECK(out.empty());
  e.set();
  CHECK(out.empty());  // nobody is resumed inline
  settle(l);
  CHECK(out == "ab");
  CHECK(e.is_set());
  l.run(wait(e, out, 'c'));
  CHECK(out == "abc");
}

TEST_CASE("an event that is reset before their turn has let the tasks go that waited") {
  event e;
  loop l;
  std::string out;
  l.spawn(wait, std::ref(e), std::ref(out), 'a');
  settle(l);
  e.set();
  e.reset();
  l.spawn(wait, std::ref(e), std::ref(out), 'b');
  settle(l);
  CHECK(out == "a");
  l.cancel();
  settle(l);
  CHECK(out == "a");
}

TEST_CASE("an event that is destroyed gives errc::closed to an awaitable that was made before") {
  auto e = std::make_unique<event>();
  loop l;
  auto later = e->wait();
  e->set();
  e.reset();
  const auto end = l.run(std::move(later));
  REQUIRE_FALSE(end);
  CHECK(end.error() == kedge::errc::closed);
  CHECK_THROWS_WITH(static_cast<void>(end.value()), doctest::Contains("event::wait, at "));
}

TEST_CASE("a task that an event has let go goes on though the event is destroyed") {
  auto e = std::make_unique<event>();
  loop l;
  std::string out;
  l.spawn(wait, std::ref(*e), std::ref(out), 'a');
  settle(l);
  e->set();
  e.reset();
  settle(l);
  CHECK(out == "a");
}

TEST_CASE("an event that is destroyed under a task that waits gives it errc::closed") {
  auto e = std::make_unique<event>();
  loop l;
  std::string out;
  l.spawn(wait, std::ref(*e), std::ref(out), 'a');
  settle(l);
  e.reset();
  settle(l);
  CHECK(out == "x");
}

TEST_CASE("a task that waits for an event may be destroyed with its loop") {
  event e;
  std::string out;
  {
    loop l;
    l.spawn(wait, std::ref(e), std::ref(out), 'a');
    settle(l);
  }
  e.set();
  CHECK(out.empty());
}

}  // namespace
