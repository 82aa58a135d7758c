// no_senders(): with and without senders, outdated notifications, cancellation, ownership.
#include "kedge/mach/no_senders.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>

#include <chrono>
#include <optional>
#include <ostream>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

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

}  // namespace

TEST_CASE("no_senders completes at once if no send right exists or none was ever made") {
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

TEST_CASE("no_senders completes when the last send right goes, one in a queued message included") {
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

TEST_CASE(
    "a send right that is made after the kernel has sent its notification prolongs the wait") {
  loop l;
  const receive_right port = receive_right::make();
  outcome o;
  std::optional<send_right> a = port.make_send();
  l.spawn(watch(port, o));
  settle(l);
  a.reset();  // the kernel sends the notification
  a = port.make_send();
  settle(l);
  CHECK_FALSE(o.ended);
  a.reset();
  settle(l);
  CHECK(o.ended);
}

TEST_CASE(
    "no_senders refuses a second task (already_awaited), and the first one's wait continues") {
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

TEST_CASE("a cancelled no_senders withdraws its request, and the next one makes it again") {
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

TEST_CASE("no_senders gives errc::closed when the awaited receive right goes") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const receive_right other = receive_right::make();
    outcome o;
    const send_right a = port.make_send();
    l.spawn(watch(port, o));
    settle(l);
    SUBCASE("it is destroyed") {
      port.destroy();
    }
    SUBCASE("it is moved into a message") {
      REQUIRE(try_send(other.make_send(), message(0, std::move(port))));
    }
    settle(l);
    CHECK(o.ended);
    CHECK(o.error == kedge::errc::closed);
    outcome again;
    l.spawn(watch(port, again));
    settle(l);
    CHECK(again.error == errc::empty_right);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("no_senders waits for a port whose former owner has left a request with a dead port") {
  const std::size_t before = names_in_space();
  {
    loop l;
    mach_port_name_t raw = MACH_PORT_NULL;
    REQUIRE(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &raw) == KERN_SUCCESS);
    {
      const receive_right notified = receive_right::make();
      mach_port_t previous = MACH_PORT_NULL;
      REQUIRE(mach_port_request_notification(mach_task_self(), raw, MACH_NOTIFY_NO_SENDERS, 1,
                                             notified.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                             &previous) == KERN_SUCCESS);
    }
    const receive_right port = receive_right::adopt(raw);
    std::optional<send_right> client = port.make_send();
    for (int i = 0; i < 2; ++i) {
      CHECK(l.run(with_timeout(1ms, no_senders(port))).error() == kedge::errc::timed_out);
    }
    client.reset();
    CHECK(l.run(no_senders(port)));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("no_senders of an adopted right counts what was made before") {
  loop l;
  mach_port_name_t raw = MACH_PORT_NULL;
  REQUIRE(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &raw) == KERN_SUCCESS);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(mach_port_insert_right(mach_task_self(), raw, raw, MACH_MSG_TYPE_MAKE_SEND) ==
            KERN_SUCCESS);
    REQUIRE(mach_port_deallocate(mach_task_self(), raw) == KERN_SUCCESS);
  }
  const receive_right port = receive_right::adopt(raw);
  CHECK(l.run(no_senders(port)));
  std::optional<send_right> client = port.make_send();
  bool alone = false;
  l.spawn([&]() -> task<> {
    (co_await no_senders(port)).value();
    alone = true;
  });
  settle(l);
  // The notification is queued, and outdated when the task takes it.
  client.reset();
  client = port.make_send();
  settle(l);
  CHECK_FALSE(alone);
  client.reset();
  settle(l);
  CHECK(alone);
}

TEST_CASE("no_senders keeps the request of another library, and makes its own again if displaced") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(), other = receive_right::make();
    std::optional<send_right> a = port.make_send();
    const auto other_requests = [&] {
      mach_port_t previous = MACH_PORT_NULL;
      REQUIRE(mach_port_request_notification(mach_task_self(), port.name(), MACH_NOTIFY_NO_SENDERS,
                                             0, other.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                             &previous) == KERN_SUCCESS);
      return send_once_right::adopt(previous);
    };
    outcome o;
    SUBCASE("cancelled: the other request stands again") {
      CHECK_FALSE(other_requests());
      CHECK(l.run(with_timeout(1ms, no_senders(port))).error() == kedge::errc::timed_out);
      CHECK(other.status().mps_msgcount == 0);
      a.reset();
    }
    SUBCASE("both are notified") {
      CHECK_FALSE(other_requests());
      l.spawn(watch(port, o));
      settle(l);
      a.reset();
      settle(l);
      CHECK(o.ended);
      CHECK_FALSE(o.error);
    }
    SUBCASE("displaced: both are notified") {
      l.spawn(watch(port, o));
      settle(l);
      CHECK(other_requests());
      settle(l);
      CHECK_FALSE(o.ended);
      a.reset();
      settle(l);
      CHECK(o.ended);
      CHECK_FALSE(o.error);
    }
    received m;
    std::size_t size = 256;
    REQUIRE(try_receive(other.name(), size, m) == MACH_MSG_SUCCESS);
    CHECK(m.id() == MACH_NOTIFY_NO_SENDERS);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("destroying the loop ends a waiting no_senders() and withdraws its request") {
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

TEST_CASE("no_senders works on a receive right that arrived in a message") {
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
