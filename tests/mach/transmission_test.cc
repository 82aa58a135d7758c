// Each class of failed sends: who owns what afterwards.
#include "kedge/mach/send_result.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <ostream>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/receive_result.h"
#include "kedge/mach/send.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

// A port, a message with a right of each kind, and what is to be left when all is over.
struct fixture {
  receive_right other = receive_right::make(64);
  message make() {
    message m(5, "the text", other.make_send(), other.make_send_once(), receive_right::make());
    m.reply_to(other.make_send_once());
    return m;
  }
  // All rights that went into messages are gone: released once each, not more.
  bool all_gone() {
    received m;
    std::size_t expected = 0;
    while (receive_now(other.name(), expected, m) == MACH_MSG_SUCCESS) m.clear();
    return send_references(other.name()) == 0 && other.status().mps_sorights == 0;
  }
};

void fill(const receive_right& port) {
  const send_right to = port.make_send();
  while (try_send(to, message(0))) {
  }
  CHECK(port.status().mps_msgcount == port.status().mps_qlimit);
}

received take(const receive_right& port) {
  received m;
  std::size_t expected = 0;
  REQUIRE(receive_now(port.name(), expected, m) == MACH_MSG_SUCCESS);
  return m;
}

}  // namespace

TEST_CASE("class 1, nothing consumed: the destination has died") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    receive_right port = receive_right::make();
    send_right to = port.make_send();
    port.destroy();
    SUBCASE("lent") {
      auto failed = try_send(to, f.make());
      REQUIRE_FALSE(failed);
      CHECK(failed.error().code() == errc::peer_died);
      CHECK(dead_references(to.name()) == 1);
      message m = std::move(failed.error()).message();
      CHECK(m.rights() == 3);
      CHECK(m.id() == 5);
      // Whole: it can go to somebody else.
      const receive_right heir = receive_right::make();
      REQUIRE(try_send(heir.make_send(), std::move(m)));
      received r = take(heir);
      CHECK(r.text() == "the text");
      CHECK(r.take_send(0));
      CHECK(r.take_send_once(1));
      CHECK(r.take_receive(2));
      CHECK(r.take_reply());
    }
    SUBCASE("moved in") {
      auto failed = try_send(destination(std::move(to)), f.make());
      CHECK(failed.error().code() == errc::peer_died);
      CHECK_FALSE(to);
    }
    SUBCASE("nobody at all") {
      auto failed = try_send(send_right(), f.make());
      CHECK(failed.error().code() == errc::peer_died);
      CHECK(failed.error().message().rights() == 3);
    }
    SUBCASE("the reply right of one who has died") {
      receive_right client = receive_right::make();
      reply_right reply =
          reply_right::adopt(client.make_send_once().release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
      client.destroy();
      static_cast<void>(type_of(reply.name()));  // the kernel notices
      auto failed = try_send(destination(std::move(reply)), f.make());
      CHECK(failed.error().code() == errc::peer_died);
    }
    CHECK(f.all_gone());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("class 1: the message is too large") {
  fixture f;
  const receive_right port = receive_right::make();
  message m = f.make();
  m.append(std::string(49 * 1024 * 1024, 'x'));
  auto failed = try_send(port.make_send(), std::move(m));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == msg_error(MACH_SEND_TOO_LARGE));
  CHECK(failed.error().message().rights() == 3);
  failed.error().message().clear();
  CHECK(f.all_gone());
}

TEST_CASE("class 2, consumed in part: the message is gone, and nothing is released twice") {
  fixture f;
  const receive_right port = receive_right::make();
  const receive_right without_senders = receive_right::make();
  const send_right to = port.make_send();
  message m = f.make();
  // A name that is no send right. Only a raw name can bring that about.
  m.append(send_right::adopt(without_senders.name()));
  auto failed = try_send(to, std::move(m));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == errc::rights_lost);
  CHECK_FALSE(failed.error().message());
  CHECK(send_references(port.name()) == 1);
  CHECK(type_of(without_senders.name()) == MACH_PORT_TYPE_RECEIVE);
  // The kernel has taken and destroyed what came before the bad one.
  CHECK(f.all_gone());
}

TEST_CASE("class 3, given back: the queue is full") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    const receive_right port = receive_right::make();
    fill(port);
    const send_right to = port.make_send();
    SUBCASE("again and again, then with success") {
      message m = f.make();
      for (int i = 0; i < 5; ++i) {
        auto failed = try_send(to, std::move(m));
        REQUIRE_FALSE(failed);
        CHECK(failed.error().code() == errc::queue_full);
        CHECK(send_references(to.name()) == 1);
        m = std::move(failed.error()).message();
        CHECK(m.rights() == 3);
      }
      take(port);
      REQUIRE(try_send(to, std::move(m)));
      for (int i = 1; i < MACH_PORT_QLIMIT_DEFAULT; ++i) take(port);
      received r = take(port);
      CHECK(r.id() == 5);
      CHECK(r.text() == "the text");
      CHECK(r.take_send(0).name() == f.other.name());
      CHECK(r.take_send_once(1));
      const receive_right moved = r.take_receive(2);
      CHECK((moved.status().mps_flags & MACH_PORT_STATUS_FLAG_GUARDED) != 0);
      CHECK(r.take_reply().disposition() == MACH_MSG_TYPE_MOVE_SEND_ONCE);
    }
    SUBCASE("and dropped") {
      CHECK(try_send(to, f.make()).error().code() == errc::queue_full);
      CHECK(send_references(to.name()) == 1);
    }
    SUBCASE("by a right that was moved in, the only one") {
      send_right last = to;
      CHECK(try_send(destination(std::move(last)), f.make()).error().code() == errc::queue_full);
      CHECK(send_references(to.name()) == 1);
    }
    SUBCASE("transmit says which reference came back") {
      message m = f.make();
      send_result t = transmit(m, to.name(), MACH_MSG_TYPE_COPY_SEND);
      CHECK(t.code == MACH_SEND_TIMED_OUT);
      CHECK(t.destination.name() == to.name());
      CHECK(send_references(to.name()) == 2);
      CHECK(m.rights() == 3);
    }
    CHECK(f.all_gone());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("class 4, success without delivery: the destination dies with the message") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    receive_right port = receive_right::make();
    REQUIRE(try_send(port.make_send(), f.make()));
    port.destroy();
    CHECK(f.all_gone());
    // A receive right that is sent to itself is destroyed.
    receive_right self = receive_right::make();
    const send_right to = self.make_send();
    CHECK(try_send(to, message(0, std::move(self))));
    CHECK(to.dead());
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
