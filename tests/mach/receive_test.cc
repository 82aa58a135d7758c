// receive() on a right and on a set.
#include "kedge/mach/receive.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <chrono>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

task<std::string> one(const receive_right& port) {
  received m = (co_await port.receive()).value();
  co_return std::string(m.text());
}

task<> note_error(const receive_right& port, std::error_code& error) {
  const result<received> r = co_await port.receive();
  error = r ? std::error_code() : r.error();
}

}  // namespace

TEST_CASE("a message that is there, and one that comes later") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make();
    REQUIRE(try_send(port.make_send(), message(0, "early")));
    CHECK(l.run(one(port)) == "early");
    l.spawn([&]() -> task<> {
      co_await yield();
      co_await yield();
      (co_await send(port.make_send(), message(0, "late"))).value();
    });
    CHECK(l.run(one(port)) == "late");
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("messages come in order, none is lost, however many there are") {
  loop l;
  const receive_right port = receive_right::make();
  constexpr std::uint32_t count = 10'000;
  l.spawn([&]() -> task<> {
    const send_right to = port.make_send();
    for (std::uint32_t i = 0; i < count; ++i) (co_await send(to, message(0, i))).value();
  });
  std::uint32_t next = 0;
  l.run([&]() -> task<> {
    while (next < count) {
      const received m = (co_await port.receive()).value();
      if (m.read<std::uint32_t>() != next) break;
      ++next;
    }
  }());
  CHECK(next == count);
}

TEST_CASE("a message larger than expected, and small ones after it") {
  loop l;
  const receive_right port = receive_right::make();
  const std::string large(100'000, 'x');
  for (const std::string& text : {std::string("a"), large, std::string("b"), large + large}) {
    REQUIRE(try_send(port.make_send(), message(0, text)));
    CHECK(l.run(one(port)) == text);
  }
}

TEST_CASE("a port set gives the messages of all its members, late ones included") {
  const std::size_t before = names_in_space();
  {
    loop l;
    port_set set = port_set::make();
    const receive_right a = receive_right::make(), b = receive_right::make();
    set.insert(a);
    l.spawn([&]() -> task<> {
      (co_await send(a.make_send(), message(1))).value();
      co_await yield();
      set.insert(b);
      (co_await send(b.make_send(), message(2))).value();
    });
    l.run([&]() -> task<> {
      const received first = (co_await set.receive()).value();
      CHECK(first.arrived_on(a));
      const received second = (co_await set.receive()).value();
      CHECK(second.arrived_on(b));
      CHECK(second.id() == 2);
    }());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a second task is refused, the first goes on") {
  loop l;
  const receive_right port = receive_right::make();
  std::error_code refused;
  l.spawn([&]() -> task<> {
    co_await yield();
    co_await note_error(port, refused);
    (co_await send(port.make_send(), message(0, "for the first"))).value();
  });
  CHECK(l.run(one(port)) == "for the first");
  CHECK(refused == kedge::errc::already_awaited);
}

TEST_CASE("cancelled while it waits: the message is for the next") {
  loop l;
  const receive_right port = receive_right::make();
  const auto r = l.run(with_timeout(1ms, port.receive()));
  REQUIRE_FALSE(r);
  CHECK(r.error() == kedge::errc::timed_out);
  REQUIRE(try_send(port.make_send(), message(0, "kept")));
  CHECK(l.run(one(port)) == "kept");
}

TEST_CASE("cancelled when the message is there already, not yet taken: it is not lost") {
  loop l;
  const receive_right port = receive_right::make();
  l.run([&]() -> task<> {
    const receive_right trigger = receive_right::make();
    // Both are told in the same turn; the one that goes on first cancels the other.
    (co_await send(trigger.make_send(), message(1))).value();
    (co_await send(port.make_send(), message(2))).value();
    auto [a, b] = co_await when_any(trigger.receive(), port.receive());
    CHECK((a || b));
    if (!b) {
      const received late = (co_await port.receive()).value();
      CHECK(late.id() == 2);
    }
    if (!a) {
      const received late = (co_await trigger.receive()).value();
      CHECK(late.id() == 1);
    }
  }());
}

TEST_CASE("the right is destroyed, moved away or empty") {
  loop l;
  std::error_code error;
  std::optional<receive_right> port = receive_right::make();
  const receive_right other = receive_right::make();
  const receive_right& awaited = *port;
  SUBCASE("destroyed under the waiter") {
    l.spawn([&]() -> task<> {
      co_await yield();
      port.reset();
    });
    l.run(note_error(awaited, error));
  }
  SUBCASE("moved into a message under the waiter") {
    l.spawn([&]() -> task<> {
      co_await yield();
      (co_await send(other.make_send(), message(0, std::move(*port)))).value();
    });
    l.run(note_error(awaited, error));
    // It lives on, elsewhere.
    received m;
    l.run([&]() -> task<> { m = (co_await other.receive()).value(); }());
    receive_right moved = m.take_receive(0);
    REQUIRE(try_send(moved.make_send(), message(0, "still")));
    CHECK(l.run(one(moved)) == "still");
  }
  SUBCASE("empty") {
    receive_right moved = std::move(*port);
    l.run(note_error(awaited, error));
  }
  CHECK(error == kedge::errc::closed);
}

TEST_CASE("a moved object is awaited still") {
  loop l;
  receive_right port = receive_right::make();
  receive_right moved;
  l.spawn([&]() -> task<> {
    co_await yield();
    moved = std::move(port);
    (co_await send(moved.make_send(), message(0, "found"))).value();
  });
  CHECK(l.run(one(port)) == "found");
}

TEST_CASE("the loop is destroyed under the waiter; another loop goes on with the right") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    {
      loop l;
      l.spawn(one(port));
      l.poll();
    }
    REQUIRE(try_send(port.make_send(), message(0, "second loop")));
    loop l;
    CHECK(l.run(one(port)) == "second loop");
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the operation survives its loop") {
  const receive_right port = receive_right::make();
  std::error_code error;
  {
    loop l;
    l.spawn(note_error(port, error));
    l.poll();
  }
  CHECK_FALSE(error);  // the task was destroyed while it waited
  loop l;
  REQUIRE(try_send(port.make_send(), message(0, "x")));
  CHECK(l.run(one(port)) == "x");
}

TEST_CASE("a right awaited in one loop is refused in another") {
  loop a, b;
  const receive_right port = receive_right::make();
  std::string got;
  a.spawn([&]() -> task<> { got = co_await one(port); });
  a.poll();
  std::error_code refused;
  b.run(note_error(port, refused));
  CHECK(refused == kedge::errc::already_awaited);
  REQUIRE(try_send(port.make_send(), message(0, "a")));
  while (got.empty()) a.run_once();
  CHECK(got == "a");
}

TEST_CASE("messages from another thread wake the loop") {
  loop l;
  const receive_right port = receive_right::make(1024);
  constexpr int count = 1000;
  std::thread sender([to = port.make_send()] {
    for (int i = 0; i < count; ++i) {
      while (!try_send(to, message(0, i))) std::this_thread::yield();
    }
  });
  int received_count = 0;
  l.run([&]() -> task<> {
    while (received_count < count) {
      const received m = (co_await port.receive()).value();
      if (m.read<int>() != received_count) break;
      ++received_count;
    }
  }());
  sender.join();
  CHECK(received_count == count);
}

TEST_CASE("receive says what it waits for") {
  loop l;
  const receive_right port = receive_right::make();
  receive_awaitable a = port.receive();
  receive_operation op = std::move(a).operator co_await();
  description line;
  op.describe(line);
  CHECK(std::string(line.text()).find("a message on port 0x") == 0);
}

}  // namespace kedge::mach
