#include "kedge/runtime/awaiting/awaiting.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <stdexcept>

#include "gate.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::cancel_result;
using kedge::gate;
using kedge::loop;
using kedge::task;

enum class end { none, value, failed, cancelled };

// Awaits the gate, with or without credit left, and tells how that ended.
task<> await_gate(loop& l, gate& g, bool spent, end& how) {
  if (spent) {
    while (l.charge()) {
    }
  }
  try {
    const int value = co_await g.wait();
    CHECK(value == 42);
    how = end::value;
  } catch (const std::runtime_error&) {
    how = end::failed;
  } catch (const kedge::cancelled&) {
    how = end::cancelled;
    throw;
  }
}
task<> then_do(std::function<void()> what) {
  what();
  co_return;
}
void drain(loop& l) {
  while (l.size() != 0) l.run_once();
}

TEST_CASE("an operation that is ready is not suspended") {
  for (const bool spent : {false, true}) {
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

TEST_CASE("an operation that waits goes on when its source ends it") {
  for (const bool spent : {false, true}) {
    loop l;
    gate g;
    end how{};
    l.spawn(await_gate(l, g, spent, how));
    l.spawn(then_do([&] {
      CHECK(g.started == (spent ? 0 : 1));
      CHECK(how == end::none);
    }));
    l.poll();
    CHECK(g.waiting != nullptr);
    g.open();
    CHECK(how == end::none);  // nobody resumes inline
    drain(l);
    CHECK(how == end::value);
    CHECK(g.resumed == 1);
    CHECK(g.destroyed == 1);
  }
}

TEST_CASE("an operation that ends while it is started") {
  for (const bool spent : {false, true}) {
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

TEST_CASE("what await_resume throws") {
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

TEST_CASE("what await_suspend throws: nothing has happened") {
  for (const bool spent : {false, true}) {
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

TEST_CASE("a coroutine whose wait could not start runs: it can be cancelled like one") {
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

TEST_CASE("in a cancelled context a wait throws before it starts anything") {
  loop l;
  gate g;
  end how{};
  l.spawn([&]() -> task<> {
    l.cancel();
    co_await await_gate(l, g, false, how);
  });
  l.spawn([&]() -> task<> {
    l.cancel();
    try {
      co_await g.wait();
    } catch (const kedge::cancelled& c) {
      CHECK(c.cause() == kedge::cancel_cause::requested);
      how = end::cancelled;
    }
  });
  drain(l);
  CHECK(g.asked == 0);
  CHECK(g.started == 0);
  CHECK(g.made == g.destroyed);
}

TEST_CASE("cancelled while it waits: withdrawn, and the coroutine throws") {
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

TEST_CASE("cancelled too late: the value stands") {
  loop l;
  gate g;
  g.answer = cancel_result::completed;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  l.cancel();
  drain(l);
  CHECK(how == end::value);
}

TEST_CASE("cancelled, to end by itself: as cancelled, or with a value") {
  loop l;
  gate g;
  g.answer = cancel_result::pending;
  end how{};
  l.spawn(await_gate(l, g, false, how));
  l.poll();
  l.cancel();
  l.poll();
  CHECK(how == end::none);
  g.open();
  drain(l);
  CHECK(how == end::cancelled);
  CHECK(g.resumed == 1);
}

TEST_CASE("cancelled while it waits for credit: never started") {
  loop l;
  gate g;
  g.is_open = true;
  end how{};
  l.spawn(await_gate(l, g, true, how));
  l.spawn(then_do([&] { l.cancel(); }));
  drain(l);
  CHECK(how == end::cancelled);
  CHECK(g.asked == 0);
  CHECK(g.resumed == 0);
  CHECK(g.destroyed == 1);
}

TEST_CASE("cancelled when it has ended but not gone on: the value is delivered") {
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

TEST_CASE("destroyed in every state, the operation is destroyed once and unlinked") {
  int deferred = 0, waiting = 0, ended = 0;
  // The number of those before it decides how far it gets in a drive.
  for (int before = 0; before < 130; ++before) {
    for (const bool open : {false, true}) {
      gate g;
      end how{};
      {
        loop l;
        for (int i = 0; i < before; ++i) l.spawn(then_do([] {}));
        l.spawn(await_gate(l, g, true, how));
        l.poll();
        if (g.waiting != nullptr && open) g.open();
        deferred += g.made == 1 && g.asked == 0;
        waiting += g.waiting != nullptr;
        ended += g.is_open;
      }
      CHECK(how == end::none);
      CHECK(g.made == g.destroyed);
      CHECK(g.waiting == nullptr);
      CHECK(g.resumed == 0);
    }
  }
  CHECK(deferred > 0);
  CHECK(waiting > 0);
  CHECK(ended > 0);
}

TEST_CASE("a coroutine whose waits are all done lets the others have their turn") {
  loop l;
  gate g;
  g.is_open = true;
  int done = 0, seen_by_other = -1;
  l.spawn([&]() -> task<> {
    for (; done < 1000; ++done) co_await g.wait();
  });
  l.spawn(then_do([&] { seen_by_other = done; }));
  drain(l);
  CHECK(done == 1000);
  CHECK(seen_by_other > 0);
  CHECK(seen_by_other <= 64);
}

TEST_CASE("the kernel is asked while tasks never rest") {
  loop l;
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
    while (!got || !slept) co_await kedge::yield();
  });
  gate g;
  g.is_open = true;
  SUBCASE("yielding") {}
  SUBCASE("spending credit") {
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
