#include "kedge/runtime/user_event.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <thread>
#include <utility>
#include <vector>

#include "drain.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::loop;
using kedge::result;
using kedge::settle;
using kedge::task;
using kedge::user_event;
using kedge::virtual_time;

using flags_result = std::optional<result<std::uint32_t>>;

task<> next_once(user_event& e, flags_result& out) {
  out = co_await e.next();
}

TEST_CASE("a trigger by another thread ends a wait of a loop that sleeps") {
  loop l;
  const user_event e(l);
  std::thread other([trigger = e.get_trigger()] { trigger(3); });
  CHECK(l.run(e.next()).value() == 3);
  other.join();
}

TEST_CASE("triggers between two waits are reported once, with the flags of all") {
  loop l;
  user_event e(l);
  const auto trigger = e.get_trigger();
  CHECK(trigger(1));
  settle(l);
  CHECK(trigger(0x80000000));
  CHECK(trigger());
  CHECK(l.run(e.next()).value() == 0x80000001);
  flags_result more;
  l.spawn(next_once(e, more));
  settle(l);
  CHECK_FALSE(more);
  CHECK(trigger());
  kedge::drain(l);
  CHECK(more->value() == 0);
}

TEST_CASE("a trigger reaches its own event only, of several on one loop") {
  loop l;
  user_event a(l), b(l);
  flags_result by_a, by_b;
  l.spawn(next_once(a, by_a));
  l.spawn(next_once(b, by_b));
  b.get_trigger()(7);
  settle(l);
  CHECK_FALSE(by_a);
  REQUIRE(by_b);
  CHECK(by_b->value() == 7);
}

TEST_CASE("a trigger makes the loop readable to a host that polls") {
  loop l;
  user_event e(l);
  pollfd host{l.native_handle(), POLLIN, 0};
  flags_result got;
  l.spawn(next_once(e, got));
  settle(l);
  REQUIRE(::poll(&host, 1, 0) == 0);
  e.get_trigger()(1);
  CHECK(::poll(&host, 1, 0) == 1);
  settle(l);
  CHECK(got->value() == 1);
}

TEST_CASE("a trigger after a cancelled wait is reported by the next one") {
  virtual_time time;
  loop l(time);
  const user_event e(l);
  CHECK(l.run(kedge::with_timeout(1us, e.next())).error() == errc::timed_out);
  CHECK(e.get_trigger()(1));
  CHECK(l.run(e.next()).value() == 1);
}

TEST_CASE("four threads trigger while the loop takes, and no flag is lost") {
  constexpr std::uint32_t threads = 4;
  constexpr int rounds = 500;
  loop l;
  // Each thread waits until its flag has been taken before it triggers again.
  std::vector<std::unique_ptr<std::atomic<int>>> taken;
  for (std::uint32_t i = 0; i < threads; ++i) taken.push_back(std::make_unique<std::atomic<int>>());
  const user_event e(l);
  std::vector<std::thread> all;
  for (std::uint32_t i = 0; i < threads; ++i) {
    all.emplace_back([trigger = e.get_trigger(), i, &done = *taken[i]] {
      for (int round = 0; round < rounds; ++round) {
        trigger(1U << i);
        while (done.load() <= round) std::this_thread::yield();
      }
    });
  }
  const auto take_all = [&]() -> task<> {
    for (std::uint32_t left = threads * rounds; left != 0;) {
      const std::uint32_t flags = (co_await e.next()).value();
      for (std::uint32_t i = 0; i < threads; ++i) {
        if ((flags >> i & 1) == 0) continue;
        ++*taken[i];
        --left;
      }
    }
  };
  l.run(take_all());
  for (std::thread& t : all) t.join();
}

TEST_CASE("threads trigger while the event, and then the loop, are destroyed") {
  for (const bool loop_first : {false, true}) {
    CAPTURE(loop_first);
    auto l = std::make_unique<loop>();
    std::optional<user_event> e(std::in_place, *l);
    std::thread other([trigger = e->get_trigger()] {
      while (trigger(1)) std::this_thread::yield();
    });
    CHECK(l->run(e->next()).value() == 1);
    loop_first ? l.reset() : e.reset();
    other.join();  // its trigger has returned false
    loop next;
    if (loop_first) CHECK(next.run(e->next()).error() == errc::loop_gone);
  }
}

TEST_CASE(
    "a user_event destroyed during a wait gives errc::closed, and its triggers have no effect") {
  loop l;
  auto e = std::make_unique<user_event>(l);
  const auto trigger = e->get_trigger();
  auto before = e->next();
  flags_result got, second;
  l.spawn(next_once(*e, got));
  l.spawn(next_once(*e, second));
  l.poll();
  CHECK(second->error() == errc::already_awaited);
  e.reset();
  kedge::drain(l);
  CHECK(got->error() == errc::closed);
  CHECK(l.run(std::move(before)).error() == errc::closed);
  CHECK_FALSE(trigger());
}

TEST_CASE("in a forked child a trigger has no effect on the parent, and a wait reports loop_gone") {
  loop l;
  const user_event e(l);
  const auto trigger = e.get_trigger();
  const int status = kedge::status_of_child([&] {
    if (trigger(8)) return 1;
    loop own;
    return own.run(e.next()).error() == errc::loop_gone ? 0 : 2;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(trigger(1));
  CHECK(l.run(e.next()).value() == 1);
}

}  // namespace
