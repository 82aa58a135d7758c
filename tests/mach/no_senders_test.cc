#include "kedge/mach/no_senders.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <chrono>
#include <optional>
#include <ostream>
#include <system_error>
#include <utility>

#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

struct outcome {
  bool ended = false;
  std::error_code error;
};

task<> watch(const receive_right& port, outcome& o) {
  const result<void> r = co_await no_senders(port);
  o.ended = true;
  if (!r) o.error = r.error();
}

void settle(loop& l) {
  while (l.poll()) {
  }
}

}  // namespace

TEST_CASE("at once, if there is no sender or never was one") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make();
    CHECK(l.run(no_senders(port)));
    {
      const send_right gone = port.make_send();
    }
    CHECK(l.run(no_senders(port)));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("when the last of several goes, one in a message included") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(), other = receive_right::make();
    outcome o;
    std::optional<send_right> a = port.make_send(), b = port.make_send();
    l.spawn(watch(port, o));
    settle(l);
    REQUIRE(try_send(other.make_send(), message(0, *a)));
    a.reset();
    settle(l);
    b.reset();
    settle(l);
    CHECK_FALSE(o.ended);
    l.run([&]() -> task<> { (void)co_await other.receive(); }());
    settle(l);
    CHECK(o.ended);
    CHECK_FALSE(o.error);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a right that is made while the word is on its way counts") {
  loop l;
  const receive_right port = receive_right::make();
  outcome o;
  std::optional<send_right> a = port.make_send();
  l.spawn(watch(port, o));
  settle(l);
  a.reset();  // the kernel tells now
  a = port.make_send();
  settle(l);
  CHECK_FALSE(o.ended);
  a.reset();
  settle(l);
  CHECK(o.ended);
}

TEST_CASE("a second task is refused, and the first goes on") {
  loop l;
  const receive_right port = receive_right::make();
  outcome first, second;
  std::optional<send_right> a = port.make_send();
  l.spawn(watch(port, first));
  l.spawn(watch(port, second));
  settle(l);
  CHECK(second.error == kedge::errc::already_awaited);
  CHECK_FALSE(first.ended);
  a.reset();
  settle(l);
  CHECK(first.ended);
  CHECK_FALSE(first.error);
}

TEST_CASE("cancelled: the request is withdrawn, and can be made again") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make();
    std::optional<send_right> a = port.make_send();
    CHECK(l.run(with_timeout(1ms, no_senders(port))).error() == kedge::errc::timed_out);
    CHECK(port.status().mps_nsrequest == 0);
    outcome o;
    l.spawn(watch(port, o));
    settle(l);
    CHECK(port.status().mps_nsrequest != 0);
    a.reset();
    settle(l);
    CHECK(o.ended);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the receive right goes while it is watched") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const receive_right other = receive_right::make();
    outcome o;
    const send_right a = port.make_send();
    l.spawn(watch(port, o));
    settle(l);
    SUBCASE("destroyed") {
      port.destroy();
    }
    SUBCASE("moved into a message") {
      REQUIRE(try_send(other.make_send(), message(0, std::move(port))));
    }
    settle(l);
    CHECK(o.ended);
    CHECK(o.error == kedge::errc::closed);
    outcome again;
    l.spawn(watch(port, again));
    settle(l);
    CHECK(again.error == kedge::errc::closed);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the loop is destroyed under the waiter") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const send_right a = port.make_send();
    outcome o;
    {
      loop l;
      l.spawn(watch(port, o));
      settle(l);
    }
    CHECK_FALSE(o.ended);
    CHECK(port.status().mps_nsrequest == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a right that came in a message is watched as any other") {
  loop l;
  const receive_right carrier = receive_right::make();
  receive_right port = receive_right::make();
  std::optional<send_right> a = port.make_send();
  REQUIRE(try_send(carrier.make_send(), message(0, std::move(port))));
  outcome o;
  l.run([&]() -> task<> { port = (co_await carrier.receive()).value().take_receive(0); }());
  l.spawn(watch(port, o));
  settle(l);
  CHECK_FALSE(o.ended);
  a.reset();
  settle(l);
  CHECK(o.ended);
}

}  // namespace kedge::mach
