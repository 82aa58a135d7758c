// The core where its parts meet: bodies that are composites, cancellations from within a transfer,
// drives that fail, and timers beside events that came late.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "in_child_process.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/observer.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"
#include "stream_pair.h"

namespace {

using kedge::loop;
using kedge::mark;
using kedge::result;
using kedge::scope;
using kedge::task;
using kedge::virtual_time;
using namespace std::chrono_literals;

task<> marked_sleep(std::string& out, char c) {
  const mark m(out, c);
  co_await kedge::sleep_for(1h);
}

TEST_CASE("a scope's body may be a scope, to its end") {
  loop l;
  int ran = 0;
  const auto inner = [&](scope&) -> task<> {
    co_await kedge::yield();
    ++ran;
  };
  const auto outer = [&](scope& s) {
    s.spawn([&]() -> task<> {
      co_await kedge::yield();
      ++ran;
    });
    return kedge::with_scope(inner);
  };
  l.run(kedge::with_scope(outer));
  CHECK(ran == 2);
}

TEST_CASE("a scope whose body is a composite is cancelled and destroyed whole") {
  for (const bool cancels : {false, true}) {
    for (const int body : {0, 1, 2, 3}) {
      CAPTURE(cancels);
      CAPTURE(body);
      std::string out;
      const auto two = [&](scope& s) {
        s.spawn(marked_sleep(out, 'c'));
        return kedge::when_all(marked_sleep(out, 'a'), marked_sleep(out, 'b'));
      };
      const auto one = [&](scope& s) {
        s.spawn(marked_sleep(out, 'c'));
        return kedge::attempt(marked_sleep(out, 'a'));
      };
      const auto timed = [&](scope& s) {
        s.spawn(marked_sleep(out, 'c'));
        return kedge::with_timeout(2h, marked_sleep(out, 'a'));
      };
      const auto nested = [&](scope&) { return kedge::with_scope(two); };
      {
        loop l;
        if (body == 0) l.spawn(kedge::with_scope(two));
        if (body == 1) l.spawn(kedge::with_scope(one));
        if (body == 2) l.spawn(kedge::with_scope(timed));
        if (body == 3) l.spawn(kedge::with_scope(nested));
        l.poll();
        l.poll();
        if (cancels) {
          l.cancel();
          while (l.size() != 0) l.poll();
        }
      }
      CHECK(out.size() == (body == 1 || body == 2 ? 2 : 3));
    }
  }
}

// Its destructor cancels the scope that reads.
struct session {
  explicit session(scope& s) : around(s) {}
  session(const session&) = delete;
  session& operator=(const session&) = delete;
  ~session() { around.cancel(); }
  scope& around;
};

std::optional<result<int>> read_byte(int fd) {
  char c = 0;
  const ssize_t n = ::read(fd, &c, 1);
  if (n < 0) return std::nullopt;
  return result<int>(static_cast<int>(n));
}

TEST_CASE("a transfer whose end cancels its own scope ends once, with its value") {
  for (const bool at_once : {false, true}) {
    for (const bool in_group : {false, true}) {
      CAPTURE(at_once);
      CAPTURE(in_group);
      loop l;
      kedge::stream_pair pair(l);
      if (at_once) REQUIRE(::write(pair.b.native_handle(), "x", 1) == 1);
      std::string out;
      const auto body = [&](scope& s) -> task<> {
        auto transfer = [held = std::make_shared<session>(s)](int fd) { return read_byte(fd); };
        auto reading = pair.a.reading(transfer);
        {
          auto dropped = std::move(transfer);
        }
        if (in_group) {
          co_await kedge::when_all(std::move(reading), marked_sleep(out, 's'));
        } else {
          s.spawn(std::move(reading));
          co_await marked_sleep(out, 's');
        }
      };
      l.spawn([&]() -> task<> { co_await kedge::with_scope(body); });
      l.poll();
      if (!at_once) REQUIRE(::write(pair.b.native_handle(), "x", 1) == 1);
      while (l.size() != 0) l.run_once();
      CHECK(out == "s");
    }
  }
}

TEST_CASE("a transfer that cancels its scope and gives nothing does not begin to wait") {
  loop l;
  kedge::stream_pair pair(l);
  std::string out;
  const auto body = [&](scope& s) -> task<> {
    const mark m(out, 'b');
    const auto nothing = [&](int) {
      s.cancel();
      return std::optional<result<int>>();
    };
    (void)co_await pair.a.reading(nothing);
    out += "went on";
  };
  l.run(kedge::with_scope(body));
  CHECK(out == "b");
}

struct throws_once final : kedge::observer {
  bool threw = false;
  std::size_t choose(std::size_t) override {
    if (std::exchange(threw, true)) return 0;
    throw std::runtime_error("chosen badly");
  }
};

bool is_readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

TEST_CASE("a drive that throws leaves the host told of what is ready, and of posts") {
  loop l;
  const int handle = l.native_handle();
  throws_once o;
  l.set_observer(&o);
  bool ran = false, posted = false;
  l.spawn([&]() -> task<> {
    ran = true;
    co_return;
  });
  CHECK_THROWS_AS(l.poll(), std::runtime_error);
  CHECK(is_readable(handle));
  while (is_readable(handle)) l.poll();
  CHECK(ran);
  l.get_remote().post([&] { posted = true; });
  CHECK(is_readable(handle));
  while (is_readable(handle)) l.poll();
  CHECK(posted);
  l.set_observer(nullptr);
}

TEST_CASE("an event that came before the deadline is not late because a task kept the loop busy") {
  virtual_time time;
  loop l(time);
  kedge::stream_pair pair(l);
  std::array<std::byte, 8> buffer{};
  std::optional<bool> got;
  l.spawn([&]() -> task<> {
    got = (co_await kedge::with_timeout(100ms, pair.a.read_some(buffer))).has_value();
  });
  l.poll();
  REQUIRE(::write(pair.b.native_handle(), "x", 1) == 1);
  time.advance(1s);
  while (!got) l.poll();
  CHECK(*got);
}

TEST_CASE("step() takes posts and due timers while a task never rests") {
  virtual_time time;
  loop l(time);
  bool stop = false, posted = false, slept = false;
  l.spawn([&]() -> task<> {
    while (!stop) co_await kedge::yield();
  });
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1ms);
    slept = true;
  });
  for (int i = 0; i < 70; ++i) l.step();
  time.advance(1ms);
  l.get_remote().post([&] { posted = true; });
  for (int i = 0; i < 200; ++i) l.step();
  CHECK(posted);
  CHECK(slept);
  stop = true;
  while (l.step()) {
  }
  CHECK(l.size() == 0);
}

TEST_CASE("a root that is dropped by a drive that throws is destroyed before its branches") {
  loop l;
  throws_once o;
  l.set_observer(&o);
  std::string out;
  CHECK_THROWS_AS(l.run(kedge::when_all(marked_sleep(out, 'a'), kedge::sleep_for(1h))),
                  std::runtime_error);
  l.set_observer(nullptr);
  l.cancel();
  l.poll();
  CHECK(l.size() == 0);
}

TEST_CASE("a destructor that throws while its task is cancelled ends the program by name") {
  const kedge::program_end end = kedge::in_child_process([] {
    struct thrower {
      thrower() {}
      ~thrower() noexcept(false) { throw 1; }
    };
    loop l;
    l.spawn([]() -> task<> {
      const thrower t;
      co_await kedge::sleep_for(1h);
    });
    l.poll();
    l.cancel();
    l.poll();
  });
  CHECK(end.aborted());
  CHECK(end.says("has a destructor that throws"));
}

}  // namespace
