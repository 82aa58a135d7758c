#include "kedge/runtime/remote.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/event.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/drive_hook.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::remote;
using kedge::task;

struct int_slot {
  explicit int_slot(kedge::reactor&) {}
  int* hits = nullptr;
};

TEST_CASE("posts of one thread run on the loop's thread, in their order") {
  loop l;
  const remote to = l.get_remote();
  std::vector<int> order;
  const auto here = std::this_thread::get_id();
  std::thread([&] {
    for (int i = 0; i < 100; ++i) {
      CHECK(to.post([&, i] {
        CHECK(std::this_thread::get_id() == here);
        CHECK(loop::current() == &l);
        order.push_back(i);
      }));
    }
  }).join();
  CHECK(order.empty());
  while (order.size() < 100) CHECK(l.run_once());
  for (int i = 0; i < 100; ++i) {
    CAPTURE(i);
    CHECK(order[static_cast<std::size_t>(i)] == i);
  }
}

TEST_CASE("posted work may be move-only, and may post and spawn") {
  loop l;
  const remote to = l.get_remote();
  int sum = 0;
  to.post([&sum, p = std::make_unique<int>(3)] { sum += *p; });
  to.post([&] {
    to.post([&] { sum += 10; });
    l.spawn([&]() -> task<> {
      sum += 100;
      co_return;
    });
  });
  while (sum != 113) l.run_once();
  CHECK(l.size() <= 1);
}

TEST_CASE("posts of many threads to a loop that sleeps and wakes all run") {
  loop l;
  constexpr int threads = 4, posts = 5'000;
  const remote to = l.get_remote();
  int got = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t) {
    posters.emplace_back([&, to] {
      for (int i = 0; i < posts; ++i) {
        to.post([&] { ++got; });
        if (i % 64 == 0) std::this_thread::yield();
      }
    });
  }
  SUBCASE("run_once() without a limit") {
    while (got < threads * posts) l.run_once();
  }
  SUBCASE("run() of a task that is busy and sleeps by turns") {
    l.run([](int& n) -> task<> {
      while (n < threads * posts) {
        for (int i = 0; i < 100; ++i) co_await kedge::yield();
        co_await kedge::sleep_for(10us);
      }
    }(got));
  }
  for (std::thread& t : posters) t.join();
  CHECK(got == threads * posts);
}

TEST_CASE("single posts, each to a loop that sleeps or is about to, all wake it") {
  loop l;
  const remote to = l.get_remote();
  constexpr int rounds = 2'000;
  std::atomic<int> seen = 0;
  std::thread poster([&] {
    for (int i = 0; i < rounds; ++i) {
      to.post([&] { seen.fetch_add(1); });
      while (seen.load() <= i) std::this_thread::yield();
    }
  });
  while (seen.load() < rounds) l.run_once();
  poster.join();
  CHECK(seen.load() == rounds);
}

TEST_CASE("two loops on two threads answer each other's posts 2,000 times") {
  constexpr int rounds = 2'000;
  struct side {
    loop own;
    int hits = 0;
  };
  side here;
  const remote to_here = here.own.get_remote();
  std::optional<remote> to_there;
  std::latch known(1);
  std::thread other([&] {
    side there;
    to_there.emplace(there.own.get_remote());
    known.count_down();
    while (there.hits < rounds) {
      const int before = there.hits;
      there.own.attachment<int_slot>().hits = &there.hits;
      there.own.run_once();
      if (there.hits != before) to_here.post([&] { ++here.hits; });
    }
  });
  known.wait();
  for (int i = 0; i < rounds; ++i) {
    to_there->post([] { ++*loop::current()->attachment<int_slot>().hits; });
    while (here.hits <= i) here.own.run_once();
  }
  other.join();
  CHECK(here.hits == rounds);
}

TEST_CASE("a post to a destroyed loop returns false and destroys its work") {
  std::optional<remote> to;
  {
    loop l;
    to = l.get_remote();
    CHECK(to->post([] {}));
  }
  const auto p = std::make_shared<int>(1);
  CHECK_FALSE(to->post([p] { FAIL("ran"); }));
  CHECK(p.use_count() == 1);
  std::thread([&] { CHECK_FALSE(to->post([] { FAIL("ran"); })); }).join();
}

TEST_CASE("a loop that is destroyed destroys 200,000 posts that it has not run") {
  const auto p = std::make_shared<int>(1);
  bool ran = false;
  {
    loop l;
    const remote to = l.get_remote();
    for (int i = 0; i < 200'000; ++i) to.post([p, &ran] { ran = true; });
    CHECK(p.use_count() == 200'001);
  }
  CHECK(p.use_count() == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("a loop is destroyed while a thread posts: no refused post runs") {
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    auto l = std::make_unique<loop>();
    const remote to = l->get_remote();
    std::atomic<int> ran = 0;
    int accepted = 0;
    std::thread poster([&] {
      while (to.post([&] { ran.fetch_add(1); })) ++accepted;
    });
    while (ran.load() < 10) l->run_once();
    l.reset();
    poster.join();
    CHECK(ran.load() <= accepted);
  }
}

TEST_CASE("posted work may submit changes in the turn in which events are delivered") {
  // Work that waits in the mailbox runs in the same turn as an event is delivered.
  loop l;
  kedge::stream_pair p(l);
  const remote to = l.get_remote();
  constexpr int rounds = 500;
  int got = 0, ran = 0;
  l.spawn([&]() -> task<> {
    std::array<std::byte, 1> b{};
    for (; got < rounds; ++got) CHECK(co_await p.b.read_some(b));
  });
  std::atomic<int> done = 0;
  std::thread poster([&] {
    for (int i = 0; i < rounds; ++i) {
      CAPTURE(i);
      CHECK(::write(p.a.native_handle(), "x", 1) == 1);
      to.post([&] {
        ++ran;
        kedge::signal_set passing(l, {SIGUSR2});
      });
      while (done.load() <= i) std::this_thread::yield();
    }
  });
  while (got < rounds || ran < rounds) {
    l.run_once();
    if (got == ran) done.store(got);
  }
  poster.join();
}

TEST_CASE("a post to a loop that a host polls makes it readable, and one drive runs all posts") {
  loop l;
  const int handle = l.native_handle();
  const remote to = l.get_remote();
  const auto readable = [&] {
    pollfd p{handle, POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  };
  int ran = 0;
  for (int i = 0; i < 3; ++i) to.post([&] { ++ran; });
  REQUIRE(readable());
  l.poll();
  CHECK(ran == 3);
  CHECK_FALSE(readable());
}

// Work in memory of the test's own.
struct own_work final : remote::work {
  void run() noexcept override { ++runs; }
  void drop() noexcept override { ++drops; }
  int runs = 0;
  int drops = 0;
};

TEST_CASE("work of the caller's own runs, can be posted again, and is dropped with its loop") {
  own_work w;
  std::optional<remote> to;
  {
    loop l;
    to = l.get_remote();
    for (int i = 1; i <= 3; ++i) {
      CAPTURE(i);
      CHECK(to->post(w));
      l.poll();
      CHECK(w.runs == i);
    }
    CHECK(to->post(w));
    CHECK(w.drops == 0);
  }
  CHECK(w.drops == 1);
  CHECK_FALSE(to->post(w));
  CHECK(w.runs == 3);
  CHECK(w.drops == 1);
}

TEST_CASE("a callable of large alignment is posted to an address of that alignment") {
  struct alignas(64) wide {
    int* aligned;
    void operator()() const { *aligned = reinterpret_cast<std::uintptr_t>(this) % 64 == 0 ? 1 : 0; }
  };
  loop l;
  int aligned = -1;
  CHECK(l.get_remote().post(wide{&aligned}));
  l.poll();
  CHECK(aligned == 1);
}

// Counts how deep the thread is within it.
struct hook final : kedge::drive_hook {
  void enter() noexcept override { ++depth; }
  void leave() noexcept override { --depth; }
  int depth = 0;
};

TEST_CASE("posted work that the loop's destructor drops is dropped within the hook") {
  hook h;
  int inside = -1;
  {
    loop l;
    l.set_hook(&h);
    const std::shared_ptr<void> probe(nullptr, [&](void*) { inside = h.depth; });
    l.get_remote().post([probe] {});
  }
  CHECK(inside == 1);
}

TEST_CASE("a source that outlives its loop is told so within the hook") {
  struct teller final : kedge::listener {
    explicit teller(hook& to) : h(to) {}
    void notify(const kevent64_s&) noexcept override {}
    void closed(std::error_code) noexcept override { inside = h.depth; }
    hook& h;
    int inside = -1;
  };
  hook h;
  teller t(h);
  kedge::registration r;
  {
    loop l;
    l.set_hook(&h);
    r = kedge::registration(l, kedge::sharing::shared, EVFILT_USER, 1);
    CHECK_FALSE(r.link(t));
  }
  CHECK(t.inside == 1);
}

}  // namespace
