// What waits for how long while tasks are ready, and how often a host is woken. All in counts: of
// resumptions, of calls of poll(), and of wakes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <system_error>

#include "in_child_process.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;

constexpr int turn = 64;

// Yields until `stop`. Returns the number of yields.
task<int> yield_until(bool& stop) {
  int turns = 0;
  while (!stop) {
    co_await kedge::yield();
    ++turns;
  }
  co_return turns;
}

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

// Waits for a byte, then sets `came`.
task<> await_byte(kedge::descriptor& from, bool& came) {
  std::array<std::byte, 1> b{};
  CHECK(co_await from.read_some(b));
  came = true;
}
void send_byte(kedge::descriptor& to) {
  REQUIRE(::write(to.native_handle(), "x", 1) == 1);
}

TEST_CASE("a timer that is due at once waits for one turn of a task that yields for ever") {
  loop l;
  bool passed = false;
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(0s);
    passed = true;
  });
  CHECK(l.run(yield_until(passed)) <= turn);
}

TEST_CASE("a post of the loop's own thread waits for one turn of a task that yields for ever") {
  loop l;
  bool ran = false;
  l.spawn([&]() -> task<> {
    l.get_remote().post([&] { ran = true; });
    co_return;
  });
  CHECK(l.run(yield_until(ran)) <= turn);
}

TEST_CASE("a timer waits for four budgets of a task whose operations never wait") {
  loop l;
  bool passed = false;
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(0s);
    passed = true;
  });
  const auto at_once = []() -> task<> { co_return; };
  int operations = 0;
  l.run([&]() -> task<> {
    while (!passed) {
      co_await at_once();
      ++operations;
    }
  }());
  CHECK(operations <= 5 * turn);
}

// Sends a byte and then yields until it has come: once more than the byte has to wait, since the
// waiter is queued behind the task that yields.
task<int> send_and_yield(kedge::descriptor& to, bool& came, virtual_time& time,
                         kedge::clock::duration passes) {
  // The first turn reads the clock after the kernel was asked.
  for (int i = 0; i < 2 * turn; ++i) co_await kedge::yield();
  send_byte(to);
  time.advance(passes);
  co_return co_await yield_until(came);
}

TEST_CASE("an event waits for 64 turns if time stands still, and the kernel is not asked before") {
  virtual_time time;
  loop l(time);
  kedge::stream_pair p(l);
  bool came = false;
  l.spawn(await_byte(p.b, came));
  l.poll();
  const int waited = l.run(send_and_yield(p.a, came, time, 0us));
  CHECK(waited <= 64 * turn + 1);
  CHECK(waited > 60 * turn);
}

TEST_CASE("an event waits for one turn once the kernel interval has passed") {
  virtual_time time;
  loop l(time);
  kedge::stream_pair p(l);
  bool came = false;
  l.spawn(await_byte(p.b, came));
  l.poll();
  SUBCASE("50 us by default") {
    CHECK(l.run(send_and_yield(p.a, came, time, 50us)) <= turn + 1);
  }
  SUBCASE("less is too short") {
    CHECK(l.run(send_and_yield(p.a, came, time, 49us)) > turn + 1);
  }
  SUBCASE("as set") {
    l.set_kernel_interval(20us);
    CHECK(l.run(send_and_yield(p.a, came, time, 20us)) <= turn + 1);
  }
}

TEST_CASE("poll() and run_once() take events, due timers and posts at their first call") {
  virtual_time time;
  loop l(time);
  kedge::stream_pair p(l);
  bool stop = false, came = false, passed = false, ran = false;
  l.spawn([&]() -> task<> { static_cast<void>(co_await yield_until(stop)); });
  l.spawn(await_byte(p.b, came));
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1ms);
    passed = true;
  });
  l.poll();
  send_byte(p.a);
  time.advance(1ms);
  l.get_remote().post([&] { ran = true; });
  SUBCASE("poll()") {
    l.poll();
  }
  SUBCASE("run_once()") {
    l.run_once();
  }
  CHECK(came);
  CHECK(passed);
  CHECK(ran);
  stop = true;
  l.poll();
}

TEST_CASE("a host is woken once for each of 100 sleeps of no time") {
  loop l;
  const int handle = l.native_handle();
  l.spawn([]() -> task<> {
    for (int i = 0; i < 100; ++i) co_await kedge::sleep_for(0s);
  });
  int wakes = 0;
  for (; l.size() != 0; ++wakes) {
    REQUIRE(readable(handle));
    l.poll();
  }
  CHECK(wakes <= 102);
  CHECK_FALSE(readable(handle));
}

TEST_CASE("a host is woken once per event, post and due timer, and not when the loop is idle") {
  virtual_time time;
  loop l(time);
  kedge::stream_pair p(l);
  const int handle = l.native_handle();
  const kedge::remote to = l.get_remote();
  bool came = false;
  l.spawn(await_byte(p.b, came));
  while (readable(handle)) l.poll();
  send_byte(p.a);
  REQUIRE(readable(handle));
  l.poll();
  CHECK(came);
  CHECK_FALSE(readable(handle));

  bool ran = false;
  to.post([&] { ran = true; });
  REQUIRE(readable(handle));
  l.poll();
  CHECK(ran);
  CHECK_FALSE(readable(handle));

  l.spawn(kedge::sleep_for(1s));
  CHECK_FALSE(readable(handle));
  time.advance(1s);
  REQUIRE(readable(handle));
  l.poll();
  CHECK(l.size() == 0);
  CHECK_FALSE(readable(handle));
}

TEST_CASE("a host is not woken for the deadline of a sleep that was cancelled") {
  virtual_time time;
  loop l(time);
  const int handle = l.native_handle();
  l.spawn(kedge::sleep_for(1s));
  while (readable(handle)) l.poll();
  l.cancel();
  while (readable(handle)) l.poll();
  CHECK(l.size() == 0);
  time.advance(2s);
  CHECK_FALSE(readable(handle));
}

TEST_CASE("a loop that a host polls is driven in a process without free descriptors") {
  loop l;
  const int handle = l.native_handle();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  l.spawn(kedge::sleep_for(1us));
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  int failures = 0;
  while (l.size() != 0) {
    try {
      l.poll();
    } catch (const std::system_error&) {
      ++failures;
    }
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(failures == 0);
  CHECK_FALSE(readable(handle));
}

TEST_CASE("native_handle() is not the fd of a standard stream, and takes none") {
  CHECK(kedge::status_of_child([] {
          for (int fd = 0; fd < 3; ++fd) ::close(fd);
          loop l;
          if (l.native_handle() < 3) return 1;
          l.run(kedge::sleep_for(1us));
          for (int fd = 0; fd < 3; ++fd) {
            if (::fcntl(fd, F_GETFD) >= 0) return 2;
          }
          return 0;
        }) == 0);
}

}  // namespace
