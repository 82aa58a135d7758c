// Observers: what they see, how they choose, and how one step of a loop is one resumption.
#include "kedge/runtime/observer.h"

#include <doctest/doctest.h>

#include <csignal>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
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

// Notes when each context runs and suspends: "+a" and "-a", for the contexts in the order in which
// they are seen. "*a" and "/a": it was made, and has ended.
struct run_notes final : kedge::observer {
  std::string seen;

 private:
  void at(happening what, const kedge::context* c, const kedge::waiter* w) noexcept override {
    char sign = 0;
    if (what == happening::spawned) sign = '*';
    if (what == happening::resumed) sign = '+';
    if (what == happening::suspended) sign = '-';
    if (what == happening::ended) sign = '/';
    if (sign == 0) return;
    if (what == happening::suspended) CHECK(c->suspended_on() == w);
    if (what == happening::resumed) CHECK(c->suspended_on() == nullptr);
    const auto next = static_cast<char>('a' + names.size());
    (seen += sign) += names.emplace(c, next).first->second;
  }
  std::map<const kedge::context*, char> names;
};

template <class Body>
std::string notes_of(Body body) {
  loop l;
  run_notes n;
  l.set_observer(&n);
  l.spawn(std::move(body));
  while (l.step()) {
  }
  CHECK(l.size() == 0);
  l.set_observer(nullptr);
  return n.seen;
}

task<> yield_once() {
  co_await kedge::yield();
}
task<> do_nothing() {
  co_return;
}

TEST_CASE("an observer sees a context run that another coroutine enters directly") {
  SUBCASE("attempt") {
    const auto body = []() -> task<> { (void)co_await kedge::attempt(yield_once()); };
    CHECK(notes_of(body) == "*a+a*b-a+b-b+b/b+a/a");
  }
  SUBCASE("attempt of a task that does not suspend") {
    const auto body = []() -> task<> { (void)co_await kedge::attempt(do_nothing()); };
    CHECK(notes_of(body) == "*a+a*b-a+b/b+a/a");
  }
  SUBCASE("shield") {
    const auto body = []() -> task<> { co_await kedge::shield(yield_once()); };
    CHECK(notes_of(body) == "*a+a*b-a+b-b+b/b+a/a");
  }
  SUBCASE("with_timeout") {
    const auto body = []() -> task<> { (void)co_await kedge::with_timeout(1h, yield_once()); };
    CHECK(notes_of(body) == "*a+a*b-a+b-b+b/b+a/a");
  }
  SUBCASE("the body of a scope") {
    const auto body = []() -> task<> {
      const auto inner = [](kedge::scope&) -> task<> { co_await kedge::yield(); };
      co_await kedge::with_scope(inner);
    };
    CHECK(notes_of(body) == "*a+a*b-a+b-b+b/b+a/a");
  }
  SUBCASE("the inner of two branches, which alone runs a coroutine") {
    const auto body = []() -> task<> {
      (void)co_await kedge::attempt(kedge::with_timeout(1h, yield_once()));
    };
    CHECK(notes_of(body) == "*a+a*b*c-a+c-c+c/c/b+a/a");
  }
  SUBCASE("a branch that is a child itself, and starts at its turn") {
    const auto body = []() { return kedge::attempt(yield_once()); };
    CHECK(notes_of(body) == "*a*b+b-b+b/b/a");
  }
}

// Fails the allocation behind the `left` first ones.
struct out_of_memory final : kedge::observer {
  int left = -1;
  int asked = 0;
  bool fail_allocation() noexcept override {
    ++asked;
    return left >= 0 && left-- == 0;
  }
};

TEST_CASE("an observer makes the allocation of a frame, of a child or of a timer fail") {
  out_of_memory o;
  loop l;
  l.set_observer(&o);
  CHECK_THROWS_AS((o.left = 0, l.spawn([]() -> task<> { co_return; })), std::bad_alloc);
  CHECK(l.size() == 0);
  const auto fails = [&](auto body) {
    bool failed = false;
    o.left = -1;
    const auto outer = [&]() -> task<> {
      o.left = 0;
      try {
        co_await body();
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      o.left = -1;
    };
    l.run(outer());
    return failed;
  };
  CHECK(fails([] { return do_nothing(); }));
  CHECK(fails([] { return kedge::sleep_for(1ns); }));
  // The room for timers is there now.
  CHECK(l.timers().empty());
  const auto body = [](kedge::scope& s) { return s.spawn(kedge::sleep_for(0s)), kedge::yield(); };
  CHECK(fails([&] { return kedge::with_scope(body); }));
  l.set_observer(nullptr);
}

TEST_CASE("an observer makes a registration fail") {
  out_of_memory o;
  loop l;
  l.set_observer(&o);
  for (int k = 0; k < 2; ++k) {  // the first one and the second
    CAPTURE(k);
    const auto make = [&]() -> task<> {
      o.left = k;
      CHECK_THROWS_AS(kedge::signal_set(l, {SIGUSR1, SIGUSR2}), std::bad_alloc);
      CHECK(o.left == -1);
      co_return;
    };
    l.run(make());
  }
  l.set_observer(nullptr);
}

TEST_CASE("allocations ask an observer only while its loop is driven or given a task") {
  out_of_memory o;
  loop l;
  l.set_observer(&o);
  {
    const task<> dropped = do_nothing();
  }
  CHECK(o.asked == 0);
  l.spawn(do_nothing);  // the frame and the record
  CHECK(o.asked == 2);
  l.poll();
  CHECK(o.asked == 2);
  loop other;
  const auto in_other = []() -> task<> { co_await do_nothing(); };
  const auto drive_other = [&]() -> task<> {
    other.run(in_other());
    co_return;
  };
  l.spawn(drive_other());  // the record: the frame is made before
  CHECK(o.asked == 3);
  l.poll();  // in_other's frame
  CHECK(o.asked == 4);
  SUBCASE("one that is set within the drive is asked from then on") {
    l.set_observer(nullptr);
    const auto set = [&]() -> task<> {
      co_await do_nothing();
      l.set_observer(&o);
      co_await do_nothing();
      l.set_observer(nullptr);
      co_await do_nothing();
    };
    l.run(set());
    CHECK(o.asked == 5);
  }
  l.set_observer(nullptr);
}

struct quiet_observer final : kedge::observer {};

std::string order_of_two(kedge::observer* o) {
  std::string order;
  kedge::loop l;
  l.set_observer(o);
  l.spawn([&]() -> kedge::task<> {
    const auto inner = []() -> kedge::task<> { co_await kedge::yield(); };
    static_cast<void>(co_await kedge::attempt(inner()));
    order += 'a';
  });
  l.spawn([&]() -> kedge::task<> {
    co_await kedge::yield();
    order += 'b';
  });
  kedge::drain(l);
  l.set_observer(nullptr);
  return order;
}

TEST_CASE("an observer that only looks changes no order") {
  quiet_observer o;
  CHECK(order_of_two(nullptr) == order_of_two(&o));
}

TEST_CASE("a task may take the observer off and put it back") {
  quiet_observer o;
  kedge::loop l;
  l.set_observer(&o);
  l.spawn([&]() -> kedge::task<> {
    kedge::observer* const before = l.set_observer(nullptr);
    l.set_observer(before);
    co_await kedge::yield();
  });
  kedge::drain(l);
  CHECK(l.set_observer(nullptr) == &o);
}

TEST_CASE("step() resumes the awaiter of a branch by a step of its own") {
  kedge::loop l;
  int resumed = 0;
  l.spawn([&]() -> kedge::task<> {
    const auto inner = [&]() -> kedge::task<> {
      co_await kedge::yield();
      ++resumed;
    };
    static_cast<void>(co_await kedge::attempt(inner()));
    ++resumed;
  });
  l.step();
  REQUIRE(resumed == 0);
  l.step();
  CHECK(resumed == 1);
  kedge::drain(l);
}

}  // namespace
