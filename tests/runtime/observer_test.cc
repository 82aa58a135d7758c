// Observers: what they see, how they choose, and how one step of a loop is one resumption.
#include "kedge/runtime/observer.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using kedge::happening;
using kedge::loop;
using kedge::task;
using namespace std::chrono_literals;

// Notes each happening as a letter.
struct notes final : kedge::observer {
  std::string seen;

 private:
  void at(happening what, const kedge::context*, const kedge::waiter*) noexcept override {
    static constexpr char letters[] = "prcRswdeAa";
    if (what == happening::asleep || what == happening::awake) return;
    seen += letters[static_cast<std::size_t>(what)];
  }
};

struct newest_first final : kedge::observer {
  std::size_t choose(std::size_t count) override { return count - 1; }
};

struct out_of_range final : kedge::observer {
  std::size_t choose(std::size_t count) override { return count; }
};

TEST_CASE("an observer sees how a task is spawned, suspends, goes on and ends") {
  loop l;
  notes n;
  CHECK(l.set_observer(&n) == nullptr);
  l.spawn([]() -> task<> { co_await kedge::yield(); });
  CHECK(n.seen == "pr");  // spawned, ready
  n.seen.clear();
  while (l.step()) {
  }
  // It completes its start and runs, is ready again by the yield and suspends; completes the yield,
  // runs, and ends. Then the scope's waiter is ready, and the kernel is asked.
  CHECK(n.seen.substr(0, 8) == "cRrscRer");
  CHECK(l.set_observer(nullptr) == &n);
}

TEST_CASE("an observer sees a wait that is withdrawn and the chain that is destroyed") {
  loop l;
  l.spawn([]() -> task<> { co_await kedge::sleep_for(1h); });
  l.poll();
  notes n;
  l.set_observer(&n);
  l.cancel();
  CHECK(n.seen == "wr");
  n.seen.clear();
  CHECK(l.step());
  CHECK(n.seen.substr(0, 2) == "de");
  l.set_observer(nullptr);
}

TEST_CASE("step() resumes exactly one task, and the observer chooses which") {
  loop l;
  std::string order;
  for (const char name : {'a', 'b', 'c'}) {
    l.spawn([&order, name]() -> task<> {
      order += name;
      co_return;
    });
  }
  newest_first o;
  SUBCASE("without an observer the oldest comes first") {
    CHECK(l.step());
    CHECK(order == "a");
    while (l.step()) {
    }
    CHECK(order == "abc");
  }
  SUBCASE("with one the chosen comes first") {
    l.set_observer(&o);
    CHECK(l.step());
    CHECK(order == "c");
    while (l.step()) {
    }
    CHECK(order.size() == 3);
    l.set_observer(nullptr);
  }
  CHECK_FALSE(l.step());
}

TEST_CASE("an observer that chooses no ready task makes the drive throw") {
  loop l;
  bool ran = false;
  l.spawn([&]() -> task<> {
    ran = true;
    co_return;
  });
  out_of_range o;
  l.set_observer(&o);
  CHECK_THROWS_AS(l.poll(), std::out_of_range);
  CHECK_THROWS_AS(l.step(), std::out_of_range);
  CHECK_FALSE(ran);
  l.set_observer(nullptr);
  l.poll();
  CHECK(ran);
}

}  // namespace
