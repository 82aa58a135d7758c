// The steady state of tasks, waits and transfers allocates nothing, as counted by the global
// operator new.
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "counted_new.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/mutex.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/semaphore.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;

constexpr int warm_up = 200, steady = 2'000;

// Runs `step` 2,200 times, and returns how many allocations the last 2,000 made.
template <class Step>
task<long> count(Step& step) {
  for (int i = 0; i < warm_up; ++i) co_await step();
  const long before = kedge::allocated;
  for (int i = 0; i < steady; ++i) co_await step();
  co_return kedge::allocated - before;
}

TEST_CASE("awaiting a child task does not allocate in the steady state") {
  loop l;
  const auto child = [](int n) -> task<int> { co_return n; };
  const auto step = [&]() -> task<> { co_await child(1); };
  CHECK(l.run(count(step)) == 0);
}

TEST_CASE("a yield and a sleep do not allocate in the steady state") {
  loop l;
  const auto step = []() -> task<> {
    co_await kedge::yield();
    co_await kedge::sleep_for(0ns);
  };
  CHECK(l.run(count(step)) == 0);
}

TEST_CASE("a mutex, a semaphore, a channel and select do not allocate in the steady state") {
  loop l;
  kedge::mutex m;
  kedge::semaphore s(2);
  kedge::channel<int> items(0);
  kedge::channel<int> never(1);
  const auto receive = [&]() -> task<> {
    while (const auto item = co_await items.receive()) static_cast<void>(*item);
  };
  l.spawn(receive);
  l.spawn([&]() -> task<> {
    while (!items.is_closed()) {
      const auto held = co_await m.lock();
      co_await kedge::yield();
    }
  });
  const auto step = [&]() -> task<> {
    const auto held = co_await m.lock();
    const auto permits = co_await s.acquire(2);
    static_cast<void>(co_await items.send(1));
    static_cast<void>(co_await kedge::select(never.receive(), kedge::sleep_for(0ns)));
  };
  CHECK(l.run(count(step)) == 0);
  items.close();
}

TEST_CASE("when_any and with_timeout do not allocate in the steady state") {
  loop l;
  const auto step = []() -> task<> {
    co_await kedge::when_any(kedge::yield(), kedge::sleep_for(1h));
    static_cast<void>(co_await kedge::with_timeout(1h, kedge::yield()));
  };
  CHECK(l.run(count(step)) == 0);
}

TEST_CASE("a time-out and an attempt of a task do not allocate in the steady state") {
  loop l;
  const auto child = []() -> task<> { co_await kedge::sleep_for(1h); };
  const auto step = [&]() -> task<> {
    const auto timed = co_await kedge::attempt(kedge::with_timeout(0ns, child()));
    CHECK(timed.has_value());
  };
  CHECK(l.run(count(step)) == 0);
}

TEST_CASE("a scope whose children are cancelled does not allocate in the steady state") {
  loop l;
  const auto child = []() -> task<> { co_await kedge::sleep_for(1h); };
  const auto body = [&](kedge::scope& s) -> task<> {
    s.spawn(child());
    s.spawn(kedge::sleep_for(1h));
    co_await kedge::yield();
    s.cancel();
  };
  const auto step = [&]() -> task<> { co_await kedge::with_scope(std::ref(body)); };
  CHECK(l.run(count(step)) == 0);
}

TEST_CASE("spawning a child into a living scope does not allocate in the steady state") {
  loop l;
  long made = -1;
  l.run(kedge::with_scope([&](kedge::scope& s) -> task<> {
    const auto child = []() -> task<> { co_await kedge::yield(); };
    const auto step = [&]() -> task<> {
      s.spawn(child());
      while (s.size() != 0) co_await kedge::yield();
    };
    made = co_await count(step);
  }));
  CHECK(made == 0);
}

TEST_CASE("closing 100 registrations in one turn does not allocate, so it cannot fail") {
  loop l;
  std::vector<kedge::registration> sources;
  sources.reserve(100);
  for (std::uint64_t ident = 1; ident <= 100; ++ident) {
    sources.emplace_back(l, kedge::sharing::exclusive, std::int16_t{EVFILT_USER}, ident);
    l.poll();
  }
  const long before = kedge::allocated;
  for (kedge::registration& s : sources) s.close();
  CHECK(kedge::allocated == before);
  l.poll();
}

TEST_CASE("a round trip over a socket pair does not allocate in the steady state") {
  loop l;
  kedge::stream_pair p(l);
  long made = -1;
  l.run(kedge::with_scope([&](kedge::scope& s) -> task<> {
    s.spawn([&]() -> task<> {
      std::array<std::byte, 16> b{};
      for (;;) {
        const auto n = co_await p.b.read_some(b);
        if (!n) break;
        static_cast<void>(co_await p.b.write_some(std::span(b).first(*n)));
      }
    });
    const auto step = [&]() -> task<> {
      std::array<std::byte, 16> b{};
      static_cast<void>(co_await p.a.write_some(b));
      static_cast<void>(co_await p.a.read_some(b));
    };
    made = co_await count(step);
    p.a.close();
  }));
  CHECK(made == 0);
}

TEST_CASE("a post of the loop's own thread does not allocate in the steady state") {
  loop l;
  const kedge::remote to = l.get_remote();
  int ran = 0;
  const auto step = [&]() -> task<> {
    to.post([&ran] { ++ran; });
    co_await kedge::yield();
  };
  CHECK(l.run(count(step)) == 0);
  CHECK(ran > 0);
}

TEST_CASE("a post of another thread makes one allocation at most, and one of its own work none") {
  struct own_work final : kedge::remote::work {
    void run() noexcept override {}
    void drop() noexcept override {}
  };
  loop l;
  const kedge::remote to = l.get_remote();
  long of_callable = -1, of_work = -1;
  own_work w;
  std::thread([&] {
    const long before = kedge::allocated;
    to.post([] {});
    of_callable = kedge::allocated - before;
    to.post(w);
    of_work = kedge::allocated - before - of_callable;
  }).join();
  l.poll();
  CHECK(of_callable <= 1);
  CHECK(of_work == 0);
}

}  // namespace
