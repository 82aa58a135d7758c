#include "kedge/runtime/task.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>

#include "gate.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "mark.h"
#include "small_stack.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::task;

// Counts its live objects in `live`.
struct counted {
  explicit counted(int& live) noexcept : n(&live) { ++*n; }
  counted(counted&& other) noexcept : n(other.n) { ++*n; }
  counted(const counted& other) noexcept : n(other.n) { ++*n; }
  counted& operator=(const counted&) = delete;
  ~counted() { --*n; }
  int* n;
};

task<int> number(int n) {
  co_return n;
}
task<> nothing() {
  co_return;
}
task<std::string&> refer(std::string& s) {
  co_return s;
}
task<std::unique_ptr<int>> own(int n) {
  co_return std::make_unique<int>(n);
}
task<int> fail() {
  throw std::runtime_error("failed");
  co_return 0;
}
task<> hold(counted, gate& g, int& reached) {
  ++reached;
  co_await g.wait();
  ++reached;
}

TEST_CASE("a task gives a value, void, a reference, or a move-only value") {
  loop l;
  std::string text = "kedge";
  l.run([](std::string& s) -> task<> {
    CHECK(co_await number(3) == 3);
    co_await nothing();
    std::string& r = co_await refer(s);
    CHECK(&r == &s);
    const std::unique_ptr<int> p = co_await own(4);
    CHECK(*p == 4);
    task<int> named = number(5);
    CHECK(co_await std::move(named) == 5);
  }(text));
  CHECK(&l.run(refer(text)) == &text);
}

TEST_CASE("a failure is thrown where the task is awaited") {
  loop l;
  const int n = l.run([]() -> task<int> {
    try {
      co_await fail();
    } catch (const std::runtime_error& e) {
      CHECK(std::string(e.what()) == "failed");
    }
    co_return 1 + co_await number(1);
  }());
  CHECK(n == 2);
  CHECK_THROWS_AS(l.run(fail()), std::runtime_error);
}

TEST_CASE("nothing runs before the task is awaited, and dropping it destroys its arguments") {
  int live = 0, reached = 0;
  gate g;
  {
    task<> t = hold(counted(live), g, reached);
    CHECK(live == 1);
    task<> moved = std::move(t);
    moved = hold(counted(live), g, reached);
    CHECK(live == 1);
  }
  CHECK(live == 0);
  CHECK(reached == 0);
}

TEST_CASE("unstarted tasks that hold each other as arguments are dropped from the outside in") {
  std::string out;
  const auto hold_task = [](mark, task<> inner) -> task<> { co_await std::move(inner); };
  {
    task<> t = hold_task(mark(out, 'c'), nothing());
    t = hold_task(mark(out, 'b'), std::move(t));
    t = hold_task(mark(out, 'a'), std::move(t));
  }
  std::sort(out.begin(), out.end());  // compilers disagree about the order of parameters
  CHECK(out == "abc");
}

TEST_CASE("a task that was moved from or awaited before ends the program when it is awaited") {
  const auto await_moved = [](task<int> t) -> task<> {
    const task<int> owner = std::move(t);
    co_await std::move(t);
  };
  const auto await_twice = []() -> task<> {
    task<int> t = number(1);
    co_await std::move(t);
    co_await std::move(t);
  };
  for (const bool moved : {true, false}) {
    CAPTURE(moved);
    const kedge::program_end end = kedge::in_child_process([&] {
      loop l;
      l.run(moved ? await_moved(number(1)) : await_twice());
    });
    CHECK(end.aborted());
    CHECK(end.says("run ("));
    CHECK(end.says("was awaited before or moved from"));
    CHECK(end.says("a task, at "));
    CHECK(end.says("task_test.cc:"));
  }
}

TEST_CASE(
    "a task that was moved from ends the program when it is spawned, with the spawn's place") {
  const int spawned = __LINE__ + 5;
  const kedge::program_end end = kedge::in_child_process([] {
    loop l;
    task<int> t = number(1);
    const task<int> owner = std::move(t);
    l.spawn(std::move(t));
    l.poll();
  });
  CHECK(end.aborted());
  CHECK(end.says("child ("));
  CHECK(end.says("task_test.cc:" + std::to_string(spawned)));
  CHECK(end.says("was awaited before or moved from"));
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
task<int> forgets_its_value(bool returns) {
  co_await kedge::yield();
  if (returns) co_return 1;
}
#pragma GCC diagnostic pop

TEST_CASE("a task<int> that ends without co_return ends the program with its name") {
  loop good;
  CHECK(good.run(forgets_its_value(true)) == 1);
  const kedge::program_end end = kedge::in_child_process([] {
    loop l;
    l.run([]() -> task<> { CHECK(co_await forgets_its_value(false) == 1); }());
  });
  CHECK(end.aborted());
  CHECK(end.says("run ("));
  CHECK(end.says("task_test.cc:"));
  CHECK(end.says("ended without co_return"));
}

TEST_CASE("a suspended chain of tasks whose loop is destroyed is destroyed innermost first") {
  int live = 0, reached = 0;
  gate g;
  std::string order;
  {
    loop l;
    l.spawn([&]() -> task<> {
      const mark outer(order, 'o');
      co_await [](gate& at, int& n, int& r, std::string& out) -> task<> {
        const mark inner(out, 'i');
        co_await hold(counted(n), at, r);
      }(g, live, reached, order);
    });
    l.poll();
    CHECK(live > 0);
    CHECK(reached == 1);
    CHECK(g.waiting != nullptr);
  }
  CHECK(live == 0);
  CHECK(reached == 1);
  CHECK(order == "io");
  CHECK(g.destroyed == g.made);
  CHECK(g.waiting == nullptr);
}

TEST_CASE("arguments of a task are destroyed before its awaiter continues") {
  loop l;
  int live = 0, reached = 0;
  gate g;
  g.is_open = true;
  l.run([](int& n, int& r, gate& at) -> task<> {
    co_await hold(counted(n), at, r);
    CHECK(n == 0);
  }(live, reached, g));
  CHECK(reached == 2);
}

task<> await_many(int n, long& sum) {
  for (int i = 0; i < n; ++i) sum += co_await number(1);
}
task<long> descend(int n) {
  if (n == 0) co_return 0;
  co_return 1 + co_await descend(n - 1);
}
task<long> descend_and_yield(int n) {
  if (n == 0) {
    co_await kedge::yield();
    co_return 0;
  }
  const long below = co_await descend_and_yield(n - 1);
  co_return below + 1;
}
task<> descend_and_fail(int n) {
  if (n == 0) throw std::runtime_error("deep");
  co_await descend_and_fail(n - 1);
}
task<> descend_and_wait(int n, gate& g) {
  if (n == 0) {
    co_await g.wait();
  } else {
    co_await descend_and_wait(n - 1, g);
  }
}

TEST_CASE("a million awaits in a loop do not grow the stack") {
  kedge::on_small_stack([] {
    loop l;
    long sum = 0;
    l.run(await_many(1'000'000, sum));
    CHECK(sum == 1'000'000);
  });
}

TEST_CASE("a deep recursion of awaits does not grow the stack on its way down or up") {
  kedge::on_small_stack([] {
    loop l;
    CHECK(l.run(descend(kedge::deep)) == kedge::deep);
    CHECK(l.run(descend_and_yield(kedge::deep)) == kedge::deep);
  });
}

TEST_CASE("an exception passes up through 100,000 tasks without growing the stack") {
  kedge::on_small_stack([] {
    loop l;
    CHECK_THROWS_AS(l.run(descend_and_fail(100'000)), std::runtime_error);
  });
}

TEST_CASE("destroying a deep suspended chain does not recurse") {
  kedge::on_small_stack([] {
    gate g;
    {
      loop l;
      l.spawn(descend_and_wait(kedge::deep, g));
      while (g.waiting == nullptr) l.poll();
    }
    CHECK(g.destroyed == g.made);
    CHECK(g.waiting == nullptr);
  });
}

TEST_CASE("dropping a million nested tasks that have not started does not recurse") {
  kedge::on_small_stack([] {
    int live = 0;
    const auto hold_task = [](counted, task<> inner) -> task<> { co_await std::move(inner); };
    {
      task<> t = nothing();
      for (int i = 0; i < kedge::deep; ++i) t = hold_task(counted(live), std::move(t));
      CHECK(live == kedge::deep);
    }
    CHECK(live == 0);
    // The same, as a child of a loop that is destroyed.
    {
      loop l;
      task<> t = nothing();
      for (int i = 0; i < kedge::deep / 10; ++i) t = hold_task(counted(live), std::move(t));
      l.spawn(std::move(t));
    }
    CHECK(live == 0);
  });
}

TEST_CASE("cancelling and destroying a deep suspended chain does not recurse") {
  kedge::on_small_stack([] {
    gate g;
    loop l;
    l.spawn(descend_and_wait(kedge::deep, g));
    while (g.waiting == nullptr) l.poll();
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(g.cancelled == 1);
    CHECK(g.made == g.destroyed);
  });
}

TEST_CASE("a loop destroyed at any stage of its tasks leaks nothing and runs nothing twice") {
  // Each drive runs a bounded number of resumptions. So the loop is destroyed while tasks have not
  // started, wait for budget, wait, or have ended and not reported it.
  for (int drives = 0; drives < 40; ++drives) {
    CAPTURE(drives);
    int live = 0, reached = 0;
    {
      loop l;
      for (int k = 0; k < 3; ++k) {
        l.spawn(
            [](counted c, int& r) -> task<> {
              for (int i = 0; i < 2000; ++i) {
                co_await [](counted, int& n) -> task<> {
                  ++n;
                  co_return;
                }(c, r);
              }
            },
            counted(live), std::ref(reached));
      }
      for (int i = 0; i < drives; ++i) l.poll();
    }
    CHECK(live == 0);
    CHECK(reached <= 6000);
  }
}

}  // namespace
