#include "kedge/runtime/value.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "drain.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace {

using kedge::loop;
using kedge::settle;
using kedge::task;
using kedge::value;

TEST_CASE("a task waits until its predicate holds for the value, and gets the value") {
  value<int> v(0);
  loop l;
  std::vector<int> seen;
  const auto above = [&](int limit) -> task<> {
    seen.push_back((co_await v.until([limit](int n) { return n > limit; })).value());
  };
  l.spawn(above, 5);
  l.spawn(above, 1);
  settle(l);
  v.set(1);
  settle(l);
  CHECK(seen.empty());
  v.set(2);
  CHECK(seen.empty());
  settle(l);
  CHECK(seen == std::vector{2});
  v.update([](int& n) { n += 5; });
  settle(l);
  CHECK(seen == std::vector{2, 7});
  CHECK(v.get() == 7);
  l.run(above(3));  // at once
  CHECK(seen.back() == 7);
}

TEST_CASE("a value that was replaced before the task's turn is not seen") {
  value<std::string> v("a");
  loop l;
  std::string seen;
  l.spawn([&]() -> task<> {
    const auto is_not_a = [](const std::string& s) { return s != "a"; };
    seen = (co_await v.until(is_not_a)).value();
  });
  settle(l);
  v.set("b");
  v.set("a");
  settle(l);
  CHECK(seen.empty());
  v.set("b");
  v.set("c");
  settle(l);
  CHECK(seen == "c");
}

TEST_CASE("what a predicate throws is thrown by its own wait alone") {
  value<int> v(0);
  loop l;
  int gone = 0;
  const auto picky = [](int n) {
    if (n == 2) throw std::runtime_error("no two");
    return n == 3;
  };
  l.spawn([&]() -> task<> {
    CHECK_THROWS_WITH(static_cast<void>(co_await v.until(picky)), "no two");
    ++gone;
  });
  l.spawn([&]() -> task<> {
    CHECK((co_await v.until([](int n) { return n == 2; })).value() == 2);
    ++gone;
  });
  settle(l);
  v.set(2);
  settle(l);
  CHECK(gone == 2);
}

TEST_CASE("tasks look at a value whose change has thrown") {
  value<int> v(0);
  loop l;
  int seen = 0;
  l.spawn([&]() -> task<> { seen = (co_await v.until([](int n) { return n == 1; })).value(); });
  settle(l);
  const auto change = [](int& n) {
    n = 1;
    throw std::runtime_error("half done");
  };
  CHECK_THROWS_AS(v.update(change), std::runtime_error);
  settle(l);
  CHECK(seen == 1);
}

TEST_CASE("a value that is destroyed gives errc::closed to those that wait") {
  auto v = std::make_unique<value<int>>(0);
  loop l;
  int closed = 0;
  const auto holds = [](int n) { return n == 1; };
  l.spawn([&]() -> task<> {
    const auto r = co_await v->until(holds);
    closed += !r && r.error() == kedge::errc::closed;
  });
  settle(l);
  auto later = v->until(holds);
  v->set(1);
  v.reset();
  settle(l);
  CHECK(closed == 1);
  CHECK(l.run(std::move(later)).error() == kedge::errc::closed);
}

TEST_CASE("a task that waits for a value may be cancelled, also when it has been woken") {
  value<int> v(0);
  loop l;
  bool gone = false;
  l.spawn([&]() -> task<> {
    static_cast<void>(co_await v.until([](int n) { return n == 1; }));
    gone = true;
  });
  settle(l);
  SUBCASE("woken, and the predicate does not hold") {
    v.set(2);
  }
  SUBCASE("not woken") {}
  l.cancel();
  settle(l);
  CHECK_FALSE(gone);
  CHECK(l.size() == 0);
  v.set(1);
}

}  // namespace
