// port_destroyed, send_once_gone: what comes back, cancellation, and rights that go before the
// wait.
#include "kedge/mach/port_destroyed.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/mach/send_once_gone.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

}  // namespace

TEST_CASE("port_destroyed gets the right back with its queue, and its senders' rights stay valid") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const send_right to = port.make_send();
    const port_destroyed back(port);
    REQUIRE(try_send(to, message(7)));
    SUBCASE("it was destroyed by its owner") {
      port.destroy();
    }
    SUBCASE("it was in a message that was not received") {
      receive_right carrier = receive_right::make();
      REQUIRE(try_send(carrier.make_send(), message(0, std::move(port))));
      CHECK(l.run(with_timeout(1ms, back.wait())).error() == kedge::errc::timed_out);
      carrier.destroy();
    }
    receive_right again = l.run(back.wait()).value();
    REQUIRE(again);
    CHECK_FALSE(to.dead());
    CHECK(l.run(again.receive()).value().id() == 7);
    // The request was used up: the port can die now.
    again.destroy();
    CHECK(to.dead());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a cancelled wait() of port_destroyed loses nothing, and the next one gets the right") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const port_destroyed back(port);
    CHECK(l.run(with_timeout(1ms, back.wait())).error() == kedge::errc::timed_out);
    port.destroy();
    CHECK(l.run(back.wait()).value());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("port_destroyed refuses a port with a request, and an empty right") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const port_destroyed first(port);
    const auto error_of = [](const receive_right& right) {
      try {
        const port_destroyed refused(right);
      } catch (const std::system_error& e) {
        return e.code();
      }
      return std::error_code();
    };
    CHECK(error_of(port) == kern_error(KERN_FAILURE));
    const receive_right none;
    CHECK_THROWS_AS(static_cast<void>(port_destroyed(none)), std::logic_error);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a worker takes the right out as revocable, and it comes back when the worker ends") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right to_worker = receive_right::make();
    receive_right requests = receive_right::make();
    const mach_port_name_t name = requests.name();
    const send_right client = requests.make_send();
    port_destroyed back(requests);
    REQUIRE(try_send(to_worker.make_send(), message(1, std::move(requests))));
    received m = l.run([](const receive_right& port) -> task<received> {
      co_return (co_await port.receive()).value();
    }(to_worker));
    CHECK_THROWS_AS(static_cast<void>(m.take_receive(0)), std::system_error);
    receive_right taken = m.take_revocable(0);
    CHECK(taken.name() == name);
    taken.destroy();
    CHECK_FALSE(client.dead());
    CHECK(l.run(back.wait()).value().name() == name);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the port dies as usual if its port_destroyed has gone before") {
  const std::size_t before = names_in_space();
  {
    receive_right port = receive_right::make();
    const send_right to = port.make_send();
    {
      const port_destroyed back(port);
    }
    port.destroy();
    CHECK(to.dead());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a wait ends if the space has no room for the right that comes back" *
          doctest::skip(!kernel::has_many_tasks())) {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const port_destroyed back(port);
    receive_right carrier = receive_right::make();
    REQUIRE(try_send(carrier.make_send(), message(0, std::move(port))));
    carrier.destroy();
    kernel::plan_faults({.points = kernel::fault_plan::only(kernel::fault::no_name), .nth = 1});
    const auto r = l.run(back.wait());
    kernel::end_faults();
    CHECK(r.error() == errc::message_lost);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("send_once_gone ends if the right was used for a message that is too large") {
  loop l;
  const receive_right token = receive_right::make();
  message large(1);
  large.append(std::vector<std::byte>(default_max_message));
  REQUIRE(try_send(token.make_send_once(), std::move(large)));
  CHECK(l.run(send_once_gone(token)).error() == errc::message_too_large);
}

TEST_CASE("send_once_gone tells a right that was destroyed from one that was used") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right token = receive_right::make();
    std::optional<send_once_right> right = token.make_send_once();
    std::optional<received> got;
    std::error_code error;
    l.spawn([&]() -> task<> {
      result<received> r = co_await send_once_gone(token);
      if (r) {
        got = std::move(*r);
      } else {
        error = r.error();
      }
    });
    settle(l);
    CHECK_FALSE(got);
    SUBCASE("it was destroyed") {
      right.reset();
      settle(l);
      REQUIRE(got);
      CHECK_FALSE(*got);
    }
    SUBCASE("it was used") {
      REQUIRE(try_send(destination(std::move(*right)), message(3)));
      settle(l);
      REQUIRE(got);
      CHECK(got->id() == 3);
    }
    SUBCASE("the port goes") {
      token.destroy();
      settle(l);
      CHECK(error == kedge::errc::closed);
    }
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a forged send-once notification is a message by which the right was used") {
  loop l;
  const receive_right token = receive_right::make();
  REQUIRE(try_send(destination(token.make_send_once()), message(MACH_NOTIFY_SEND_ONCE)));
  CHECK(l.run(send_once_gone(token)).value().id() == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("send_once_gone gives errc::closed if the right is destroyed before the wait") {
  loop l;
  receive_right token = receive_right::make();
  auto gone = send_once_gone(token);
  token.destroy();
  CHECK(l.run(std::move(gone)).error() == kedge::errc::closed);
}

}  // namespace kedge::mach
