#include "kedge/runtime/awaiting/awaiting.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <stdexcept>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;

enum class end { none, value, failed, cancelled };

// A local of a coroutine that stores how the coroutine ended: as cancelled, if nothing else was set
// before it was destroyed.
struct end_recorder {
  explicit end_recorder(end& how) noexcept : out(how) {}
  end_recorder(const end_recorder&) = delete;
  end_recorder& operator=(const end_recorder&) = delete;
  ~end_recorder() { out = is; }
  end& out;
  end is = end::cancelled;
};

// Awaits the gate, after spending the turn's budget if `spent`, and reports how that ended.
task<> await_gate(loop& l, gate& g, bool spent, end& how) {
  if (spent) {
    while (l.spend_budget()) {
    }
  }
  end_recorder recorded(how);
  try {
    const int value = co_await g.wait();
    CHECK(value == 42);
    recorded.is = end::value;
  } catch (const std::runtime_error&) {
    recorded.is = end::failed;
  }
}
task<> call(std::function<void()> fn) {
  fn();
  co_return;
}
TEST_CASE("an operation that is ready is not started, and gives its value") {
  for (const bool spent : {false, true}) {
    CAPTURE(spent);
    loop l;
    gate g;
    g.is_open = true;
    end how{};
    l.run(await_gate(l, g, spent, how));
    CHECK(how == end::value);
    CHECK(g.asked == 1);
    CHECK(g.started == 0);
    CHECK(g.resumed == 1);
    CHECK(g.destroyed == 1);
  }
}

TEST_CASE("an operation that waits is resumed by the loop after its source ended it, not inline") {
  for (const bool spent : {false, true}) {
    CAPTURE(spent);
    loop l;
    gate g;
    end how{};
    l.spawn(await_gate(l, g, spent, how));
    l.spawn(call([&] {
      CHECK(g.started == (spent ? 0 : 1));
      CHECK(how == end::none);
    }));
    l.poll();
    CHECK(g.waiting != nullptr);
    g.open();
    CHECK(how == end::none);  // open() resumes nothing
    drain(l);
    CHECK(how == end::value);
    CHECK(g.resumed == 1);
    CHECK(g.destroyed == 1);
  }
}

TEST_CASE("an operation that ends in await_suspend gives its value without a suspension") {
  for (const bool spent : {false, true}) {
    CAPTURE(spent);
    loop l;
    gate g;
    g.ends_in_suspend = true;
    end how{};
    l.run(await_gate(l, g, spent, how));
    CHECK(how == end::value);
    CHECK(g.started == 1);
    CHECK(g.resumed == 1);
  }
}

TEST_CASE("an exception of await_resume is thrown by the co_await") {
  loop l;
  gate g;
  g.fails = true;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  g.open();
  drain(l);
  CHECK(how == end::failed);
  CHECK(g.resumed == 1);
}

TEST_CASE("an exception of await_suspend is thrown by the co_await, without await_resume") {
  for (const bool spent : {false, true}) {
    CAPTURE(spent);
    loop l;
    gate g;
    g.refuses = true;
    end how{};
    l.run(await_gate(l, g, spent, how));
    CHECK(how == end::failed);
    CHECK(g.resumed == 0);
    CHECK(g.destroyed == 1);
  }
}

TEST_CASE("a coroutine whose await_suspend threw is running, so cancelling it withdraws nothing") {
  loop l;
  gate g;
  g.refuses = true;
  bool went_on = false;
  l.spawn([&]() -> task<> {
    try {
      co_await g.wait();
    } catch (const std::runtime_error&) {
    }
    l.cancel();
    went_on = true;
    co_await kedge::yield();
    FAIL("cancelled, but it waited");
  });
  drain(l);
  CHECK(went_on);
  CHECK(g.cancelled == 0);
}

TEST_CASE("in a cancelled context a co_await ends the chain and never asks its operation") {
  for (const bool through_a_task : {false, true}) {
    CAPTURE(through_a_task);
    loop l;
    gate g;
    end inner{}, outer{};
    l.spawn([&]() -> task<> {
      l.cancel();
      const end_recorder recorded(outer);
      if (through_a_task) {
        co_await await_gate(l, g, false, inner);
      } else {
        co_await g.wait();
      }
      FAIL("cancelled, but it waited");
    });
    drain(l);
    CHECK(outer == end::cancelled);
    CHECK(inner == (through_a_task ? end::cancelled : end::none));
    CHECK(g.asked == 0);
    CHECK(g.started == 0);
    CHECK(g.made == g.destroyed);
  }
}

TEST_CASE("an operation cancelled while it waits is withdrawn once, and its chain ends") {
  loop l;
  gate g;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  l.cancel();
  CHECK(g.cancelled == 1);
  CHECK(g.waiting == nullptr);
  CHECK(how == end::none);
  l.cancel();
  CHECK(g.cancelled == 1);
  drain(l);
  CHECK(how == end::cancelled);
  CHECK(g.resumed == 0);
  CHECK(g.destroyed == 1);
}

TEST_CASE("an operation that completes at its cancellation gives its value") {
  loop l;
  gate g;
  g.answer = gate::cancelling::completes;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  l.cancel();
  drain(l);
  CHECK(how == end::value);
}

TEST_CASE("an operation that cannot withdraw ends as cancelled when its source ends it") {
  loop l;
  gate g;
  g.answer = gate::cancelling::ends_late;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  l.cancel();
  l.poll();
  CHECK(how == end::none);
  g.open();
  drain(l);
  CHECK(how == end::cancelled);
  CHECK(g.resumed == 0);
}

TEST_CASE("an operation cancelled while it waits for budget is never asked or started") {
  loop l;
  gate g;
  g.is_open = true;
  end how{};
  l.spawn(await_gate(l, g, true, how));
  l.spawn(call([&] { l.cancel(); }));
  drain(l);
  CHECK(how == end::cancelled);
  CHECK(g.asked == 0);
  CHECK(g.resumed == 0);
  CHECK(g.destroyed == 1);
}

TEST_CASE("an operation that ended before the cancellation gives its value") {
  loop l;
  gate g;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  g.open();
  l.cancel();
  CHECK(g.cancelled == 0);
  drain(l);
  CHECK(how == end::value);
}

TEST_CASE("an operation destroyed in any state is destroyed once and unlinked") {
  int deferred = 0, waiting = 0, ended = 0;
  // The number of tasks before it decides how far it gets in a drive.
  for (int before = 0; before < 130; ++before) {
    for (const bool open : {false, true}) {
      CAPTURE(before);
      CAPTURE(open);
      gate g;
      end how{};
      {
        loop l;
        for (int i = 0; i < before; ++i) l.spawn(call([] {}));
        l.spawn(await_gate(l, g, true, how));
        l.poll();
        if (g.waiting != nullptr && open) g.open();
        deferred += g.made == 1 && g.asked == 0;
        waiting += g.waiting != nullptr;
        ended += g.is_open;
      }
      CHECK((how == end::none || how == end::cancelled));
      CHECK(g.made == g.destroyed);
      CHECK(g.waiting == nullptr);
      CHECK(g.resumed == 0);
    }
  }
  CHECK(deferred > 0);
  CHECK(waiting > 0);
  CHECK(ended > 0);
}

TEST_CASE("a coroutine whose waits are all ready lets another run after 64 of them") {
  loop l;
  gate g;
  g.is_open = true;
  int done = 0, seen_by_other = -1;
  l.spawn([&]() -> task<> {
    for (; done < 1000; ++done) co_await g.wait();
  });
  l.spawn(call([&] { seen_by_other = done; }));
  drain(l);
  CHECK(done == 1000);
  CHECK(seen_by_other > 0);
  CHECK(seen_by_other <= 64);
}

TEST_CASE("events and timers are delivered while tasks never rest") {
  virtual_time time;
  loop l(time);
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  kedge::descriptor in(l, ends[0], kedge::ownership::owned);
  bool got = false;
  bool slept = false;
  l.spawn([&]() -> task<> {
    CHECK(co_await in.readable());
    got = true;
  });
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1us);
    slept = true;
  });
  l.spawn([&]() -> task<> {
    co_await kedge::yield();
    REQUIRE(::write(ends[1], "x", 1) == 1);
    time.advance(1us);
    while (!got || !slept) co_await kedge::yield();
  });
  gate g;
  g.is_open = true;
  SUBCASE("tasks that yield") {}
  SUBCASE("a task that spends its budget") {
    l.spawn([&]() -> task<> {
      while (!got || !slept) co_await g.wait();
    });
  }
  drain(l);
  CHECK(got);
  CHECK(slept);
  ::close(ends[1]);
}

}  // namespace
