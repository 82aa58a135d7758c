// call(): replies, dropped reply rights, dead services, and cancellation while the request waits
// for room and while the call waits for its reply.
#include "kedge/mach/call.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

// Serves `count` requests: replies to each number with its square.
task<> square(const receive_right& requests, int count) {
  for (int i = 0; i < count; ++i) {
    received request = (co_await requests.receive()).value();
    const auto n = request.read<std::uint32_t>().value();
    CHECK_FALSE(reply(request, message(request.id() + 100, n * n)));
  }
}

task<std::uint32_t> ask(const send_right& service, std::uint32_t n) {
  received reply = (co_await call(service, message(1, n))).value();
  CHECK(reply.id() == 101);
  CHECK_FALSE(reply.take_reply());
  co_return reply.read<std::uint32_t>().value();
}

task<> note_error(const send_right& service, std::error_code& error) {
  const auto reply = co_await call(service, message(1, std::uint32_t{0}));
  error = reply ? std::error_code() : reply.error().code();
}

}  // namespace

TEST_CASE("100 calls in a row and four concurrent ones each get their own reply") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right requests = receive_right::make();
    const send_right service = requests.make_send();
    l.spawn(square(requests, 104));
    l.run([&]() -> task<> {
      for (std::uint32_t n = 0; n < 100; ++n) {
        const std::uint32_t squared = co_await ask(service, n);
        CAPTURE(n);
        CHECK(squared == n * n);
      }
      const auto [a, b, c, d] =
          co_await when_all(ask(service, 2), ask(service, 3), ask(service, 4), ask(service, 5));
      CHECK(a == 4);
      CHECK(b == 9);
      CHECK(c == 16);
      CHECK(d == 25);
    }());
    CHECK(send_references(service.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("50 calls to a queue of one message wait for room and all get their replies") {
  loop l;
  const receive_right requests = receive_right::make(1);
  const send_right service = requests.make_send();
  constexpr std::uint32_t count = 50;
  std::uint32_t right_replies = 0;
  for (std::uint32_t n = 0; n < count; ++n) {
    l.spawn([&, n]() -> task<> { right_replies += co_await ask(service, n) == n * n ? 1u : 0u; });
  }
  settle(l);
  l.run(square(requests, count));
  settle(l);
  CHECK(right_replies == count);
}

TEST_CASE("a call to a service that dies fails, by whether its request was sent") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right requests = receive_right::make();
    const send_right service = requests.make_send();
    std::error_code error;
    SUBCASE("dead before the call: peer_died") {
      requests.destroy();
      l.run(note_error(service, error));
      CHECK(error == errc::peer_died);
    }
    SUBCASE("dies while the call waits for room: peer_died") {
      while (try_send(service, message(0))) {
      }
      l.spawn(note_error(service, error));
      settle(l);
      requests.destroy();
      settle(l);
      CHECK(error == errc::peer_died);
    }
    SUBCASE("dies with the request in its queue: no_reply") {
      l.spawn(note_error(service, error));
      settle(l);
      requests.destroy();
      settle(l);
      CHECK(error == errc::no_reply);
    }
    SUBCASE("destroys the request: no_reply") {
      l.spawn([&]() -> task<> { (void)co_await requests.receive(); });
      l.run(note_error(service, error));
      CHECK(error == errc::no_reply);
    }
    CHECK(l.size() == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a reply with the id MACH_NOTIFY_SEND_ONCE from a task is an ordinary reply") {
  loop l;
  const receive_right requests = receive_right::make();
  const send_right service = requests.make_send();
  l.spawn([&]() -> task<> {
    received request = (co_await requests.receive()).value();
    CHECK_FALSE(reply(request, message(MACH_NOTIFY_SEND_ONCE)));
  });
  l.run([&]() -> task<> {
    const auto reply = co_await call(service, message(1));
    REQUIRE(reply);
    CHECK(reply->id() == MACH_NOTIFY_SEND_ONCE);
  }());
}

TEST_CASE("the late reply to a cancelled call is dropped, and the next call gets its own reply") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right requests = receive_right::make();
    const send_right service = requests.make_send();
    const receive_right taken = receive_right::make();
    reply_right late;
    l.spawn([&]() -> task<> {
      late = (co_await requests.receive()).value().take_reply();
      (co_await send(taken.make_send(), message(0))).value();
    });
    l.run([&]() -> task<> {
      auto [reply, cancelled_by] =
          co_await when_any(call(service, message(1, std::uint32_t{1})), taken.receive());
      CHECK_FALSE(reply);
      CHECK(cancelled_by);
      CHECK(late);
    }());
    l.spawn([&]() -> task<> {
      received request = (co_await requests.receive()).value();
      // The late reply first. Its port is gone.
      const std::error_code sent = reply(std::move(late), message(101, std::uint32_t{666}));
      CHECK((!sent || sent == errc::peer_died));
      CHECK_FALSE(reply(request, message(101, std::uint32_t{25})));
    });
    CHECK(l.run(ask(service, 5)) == 25);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a call that is cancelled while it waits for room never sends its request") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right requests = receive_right::make(1);
    const send_right service = requests.make_send();
    REQUIRE(try_send(service, message(7)));
    const receive_right other = receive_right::make();
    {
      auto reply = l.run(with_timeout(1ms, call(service, message(1, other.make_send()))));
      CHECK(reply.error().code() == kedge::errc::timed_out);
      // The request comes back, without the reply right that the call has added.
      CHECK(reply.error().message().rights() == 1);
      CHECK_FALSE(reply.error().message().take_reply());
      CHECK(send_references(other.name()) == 1);
    }
    CHECK(send_references(other.name()) == 0);
    CHECK(send_references(requests.name()) == 1);
    CHECK(requests.status().mps_msgcount == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("destroying the loop ends calls that wait for room and for a reply, without a leak") {
  const std::size_t before = names_in_space();
  {
    const receive_right requests = receive_right::make(1);
    const send_right service = requests.make_send();
    std::error_code error;
    {
      loop l;
      l.spawn(note_error(service, error));  // waits for its reply
      l.spawn(note_error(service, error));  // waits for room
      settle(l);
      CHECK(l.size() == 2);
    }
    CHECK(send_references(service.name()) == 1);
    CHECK(requests.status().mps_msgcount == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("call replaces the reply right of the message, and sends an empty message as a request") {
  loop l;
  const receive_right requests = receive_right::make(), other = receive_right::make();
  const send_right service = requests.make_send();
  l.spawn([&]() -> task<> {
    for (int i = 0; i < 2; ++i) {
      received request = (co_await requests.receive()).value();
      CHECK_FALSE(reply(request, message(9)));
    }
  });
  l.run([&]() -> task<> {
    message m(1);
    m.reply_to(other.make_send());
    CHECK((co_await call(service, std::move(m))).value().id() == 9);
    CHECK(send_references(other.name()) == 0);
    CHECK((co_await call(service, message())).value().id() == 9);
  }());
}

TEST_CASE("a request that could not be sent comes back whole, and its reply port is used again") {
  loop l;
  receive_right requests = receive_right::make(1);
  const send_right service = requests.make_send();
  const receive_right carried = receive_right::make();
  const auto unsent = [&](const result<received, send_failure>& r) {
    REQUIRE_FALSE(r);
    return r.error().code();
  };
  const std::size_t before = names_in_space();
  SUBCASE("the service is dead, or dies while the request waits for room") {
    std::optional<result<received, send_failure>> outcome;
    REQUIRE(try_send(service, message(0)));
    l.spawn([&]() -> task<> {
      outcome.emplace(co_await call(service, message(1, "kept", receive_right::make())));
    });
    settle(l);
    requests.destroy();
    settle(l);
    REQUIRE(outcome);
    CHECK(unsent(*outcome) == errc::peer_died);
    message m = std::move(outcome->error()).message();
    CHECK(m.rights() == 1);
    CHECK(m.bytes().size() == 4);
    CHECK(m.take_receive(0));
    outcome.reset();
    auto again = l.run([&]() -> task<result<received, send_failure>> {
      co_return co_await call(service, message(1, carried.make_send()));
    }());
    CHECK(unsent(again) == errc::peer_died);
    CHECK(again.error().message().take_send(0));
    // One idle reply port, and the loop's port for notifications.
    CHECK(names_in_space() == before + 2);
  }
  SUBCASE("the right is empty") {
    auto outcome = l.run([&]() -> task<result<received, send_failure>> {
      const send_right none;
      co_return co_await call(none, message(1, "kept"));
    }());
    CHECK(unsent(outcome) == errc::empty_right);
    CHECK(outcome.error().message().id() == 1);
  }
}

TEST_CASE("a reply that is larger than the caller allows is refused, and the next call works") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right requests = receive_right::make();
    const send_right service = requests.make_send();
    const receive_right carried = receive_right::make();
    l.spawn([&]() -> task<> {
      for (int i = 0; i < 3; ++i) {
        received request = (co_await requests.receive()).value();
        CHECK_FALSE(reply(request, message(2, std::string(100'000, 'x'), carried.make_send())));
      }
    });
    l.run([&]() -> task<> {
      const auto refused = co_await call(service, message(1));
      REQUIRE_FALSE(refused);
      CHECK(refused.error().code() == errc::message_too_large);
      CHECK_FALSE(refused.error().code() == errc::peer_died);
      CHECK(send_references(carried.name()) == 0);
      const auto larger = co_await call(service, message(1)).at_most(200'000);
      REQUIRE(larger);
      CHECK(larger->text().size() == 100'000);
      const auto smaller = co_await call(service, message(1)).at_most(99'999);
      CHECK(smaller.error().code() == errc::message_too_large);
    }());
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
