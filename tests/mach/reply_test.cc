// reply(): never waits, whatever right the client has sent along.
#include "kedge/mach/reply.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "space_names.h"
#include "take_message.h"
#include "tests/runtime/in_child_process.h"

namespace kedge::mach {
namespace {

// A request with the reply right `right`.
template <class Right>
received request(const receive_right& service, Right right) {
  message m(1);
  m.reply_to(std::move(right));
  REQUIRE(try_send(service.make_send(), std::move(m)));
  return take(service);
}

void fill(const receive_right& port) {
  while (try_send(port.make_send(), message(0))) {
  }
}

}  // namespace

TEST_CASE(
    "a reply arrives by either kind of right, and by a send-once right even in a full queue") {
  const std::size_t before = names_in_space();
  {
    const receive_right service = receive_right::make(), client = receive_right::make(1);
    received a = request(service, client.make_send());
    CHECK_FALSE(reply(a, message(7)));
    CHECK(take(client).id() == 7);
    received b = request(service, client.make_send_once());
    fill(client);
    CHECK_FALSE(reply(b, message(8)));
    CHECK(take(client).id() == 0);
    CHECK(take(client).id() == 8);
    CHECK(reply(b, message(9)) == errc::empty_right);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a reply to a client that keeps its queue full is dropped with its rights, and counted") {
  const std::size_t before = names_in_space();
  {
    const receive_right service = receive_right::make(), client = receive_right::make(1);
    const receive_right carried = receive_right::make();
    fill(client);
    const std::uint64_t dropped = dropped_replies();
    for (std::uint64_t i = 1; i <= 3; ++i) {
      received r = request(service, client.make_send());
      CHECK(reply(r, message(7, carried.make_send())) == errc::queue_full);
      CHECK(dropped_replies() == dropped + i);
    }
    CHECK(client.status().mps_msgcount == 1);
    CHECK(send_references(carried.name()) == 0);
    CHECK(send_references(client.name()) == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "a reply to a client that has died gives peer_died, before or after the request arrived") {
  const std::size_t before = names_in_space();
  {
    const receive_right service = receive_right::make();
    receive_right first = receive_right::make(), second = receive_right::make();
    received a = request(service, first.make_send_once());
    first.destroy();
    const std::error_code sent = reply(a, message(7));
    // The kernel takes a message to a dead send-once right, and destroys it.
    CHECK((!sent || sent == errc::peer_died));

    message m(1);
    m.reply_to(second.make_send());
    REQUIRE(try_send(service.make_send(), std::move(m)));
    second.destroy();
    received b = take(service);
    CHECK(reply(b, message(7)) == errc::peer_died);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("sending by an empty right, or by one of another space, says so and keeps the message") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const send_right to = port.make_send();
    CHECK(try_send(send_once_right(), message(3)).error().code() == errc::empty_right);
    CHECK(try_send(send_right(), message(3)).error().code() == errc::empty_right);
    space other;
    message here(3);
    {
      const scoped_space inside(other);
      CHECK(try_send(to, message(3)).error().code() == errc::wrong_space);
      auto failed = try_send(to, std::move(here));
      CHECK(failed.error().code() == errc::wrong_space);
      here = std::move(failed.error()).message();
      // Rights of two spaces do not meet in a message.
      message there(3);
      CHECK_THROWS_AS(there.append(to), std::logic_error);
      CHECK_THROWS_AS(there.reply_to(to), std::logic_error);
      CHECK_THROWS_AS(here.append(receive_right::make()), std::logic_error);
      CHECK(there.rights() == 0);
    }
    REQUIRE(try_send(to, std::move(here)));
    CHECK(take(port).id() == 3);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "sending by a name that other code has released says so, and is reported in debug builds") {
  const program_end end = in_child_process([] {
    const auto failed = try_send(send_once_right::adopt(0x00fff703), message(3));
    if (failed.has_value() || failed.error().code() != errc::wrong_space) std::abort();
  });
  CHECK(end.status == 0);
#ifdef NDEBUG
  CHECK(end.standard_error == "");
#else
  CHECK(end.standard_error ==
        "kedge::mach: releasing a send-once right, 0xfff703: (os/kern) invalid name; other code "
        "has released the name, or has changed its guard\n");
#endif
}

}  // namespace kedge::mach
