// The four classes of failed sends (mach/kernel/README.md): what each consumes, and how class 3
// gives the message back (Darwin: ipc_kmsg_copyout_pseudo).
#include <doctest/doctest.h>

#include "test_message.h"

using namespace test;

namespace {

void fill(mach_port_name_t port) {
  while (message(port, MACH_MSG_TYPE_MAKE_SEND).send() == MACH_MSG_SUCCESS) {
  }
}

}  // namespace

TEST_CASE("class 1: a send to a dead destination consumes nothing") {
  const mach_port_name_t dead = new_service(), cargo = new_service(), reply = new_port();
  end_receive(dead);
  message m(dead, MACH_MSG_TYPE_MOVE_SEND, 0, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
  m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  CHECK(m.send() == MACH_SEND_INVALID_DEST);
  CHECK(refs_of(dead, MACH_PORT_RIGHT_DEAD_NAME) == 1);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(status_of(reply).mps_sorights == 0);
}

TEST_CASE(
    "class 2: a bad right destroys the rights of the header and before it, not those behind it") {
  const mach_port_name_t port = new_service(), first = new_service(), last = new_service(),
                         reply = new_port();
  message m(port, MACH_MSG_TYPE_MOVE_SEND, 0,
            {{first, MACH_MSG_TYPE_MOVE_SEND},
             {0x00fff703, MACH_MSG_TYPE_MOVE_SEND},
             {last, MACH_MSG_TYPE_MOVE_SEND}});
  m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  const message before = m;
  CHECK(m.send() == MACH_SEND_INVALID_RIGHT);
  CHECK(std::memcmp(before.bytes, m.bytes, sizeof m.bytes) == 0);
  CHECK(type_of(port) == MACH_PORT_TYPE_RECEIVE);
  CHECK(type_of(first) == MACH_PORT_TYPE_RECEIVE);
  CHECK(type_of(last) == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
  CHECK(status_of(port).mps_srights == 0);
}

TEST_CASE(
    "class 2: a descriptor fails if an earlier one has moved the last reference of its name") {
  const mach_port_name_t port = new_service();
  const mach_port_name_t both = new_service(), other = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND, 0,
            {{other, MACH_MSG_TYPE_COPY_SEND},
             {both, MACH_MSG_TYPE_MOVE_SEND},
             {both, MACH_MSG_TYPE_MOVE_SEND}});
  CHECK(m.send() == MACH_SEND_INVALID_RIGHT);
  CHECK(type_of(both) == MACH_PORT_TYPE_RECEIVE);
  CHECK(status_of(both).mps_srights == 0);
  CHECK(refs_of(other, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(status_of(port).mps_msgcount == 0);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("class 3: a full queue gives copied rights back as additional references") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  fill(port);
  const auto sends = refs_of(port, MACH_PORT_RIGHT_SEND);
  message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_COPY_SEND}});
  CHECK(m.send() == MACH_SEND_TIMED_OUT);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 2);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == sends + 1);
}

TEST_CASE("class 3: a full queue gives every right back in the sender's buffer, to be sent again") {
  const mach_port_name_t port = new_service(), cargo = new_service(), reply = new_port(),
                         moving = new_port();
  fill(port);
  const mach_port_name_t once = new_send_once(reply);
  message m(port, MACH_MSG_TYPE_COPY_SEND, 9,
            {{cargo, MACH_MSG_TYPE_MOVE_SEND},
             {cargo, MACH_MSG_TYPE_MAKE_SEND},
             {once, MACH_MSG_TYPE_MOVE_SEND_ONCE},
             {moving, MACH_MSG_TYPE_MOVE_RECEIVE}},
            "body");
  m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  const auto mscount = status_of(cargo).mps_mscount;
  const auto sends = refs_of(port, MACH_PORT_RIGHT_SEND);
  REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
  CHECK(m.header().msgh_remote_port == port);  // not swapped
  CHECK(m.header().msgh_bits ==
        (MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND_ONCE) |
         MACH_MSGH_BITS_COMPLEX));
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == sends + 1);  // the copied right comes back too
  CHECK(type_of(m.header().msgh_local_port) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(m.port_at(0) == cargo);
  CHECK(m.port_at(1) == cargo);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 2);
  CHECK(type_of(m.port_at(2)) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(type_of(m.port_at(3)) == MACH_PORT_TYPE_RECEIVE);
  CHECK(m.descriptor(3).disposition == MACH_MSG_TYPE_MOVE_RECEIVE);
  CHECK(status_of(cargo).mps_mscount == mscount + 1);  // stays bumped
  CHECK(std::memcmp(m.bytes + m.size - 4, "body", 4) == 0);
  // The buffer can be sent again as it is.
  message drained;
  CHECK(drained.receive(port) == MACH_MSG_SUCCESS);
  CHECK(m.send() == MACH_MSG_SUCCESS);
}

TEST_CASE("class 4: a send that succeeds without delivery destroys the message") {
  SUBCASE("a send-once right whose port has died unnoticed consumes the message") {
    const mach_port_name_t port = new_port(), cargo = new_service();
    const mach_port_name_t once = new_send_once(port);
    end_receive(port);
    CHECK(
        message(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, 0, {{cargo, MACH_MSG_TYPE_MOVE_SEND}}).send() ==
        MACH_MSG_SUCCESS);
    CHECK(type_of(once) == 0);
    CHECK(type_of(cargo) == MACH_PORT_TYPE_RECEIVE);
  }
  SUBCASE("after mach_port_type has noticed the death, the send fails (INVALID_DEST)") {
    const mach_port_name_t port = new_port();
    const mach_port_name_t once = new_send_once(port);
    end_receive(port);
    CHECK(type_of(once) == MACH_PORT_TYPE_DEAD_NAME);
    CHECK(message(once, MACH_MSG_TYPE_MOVE_SEND_ONCE).send() == MACH_SEND_INVALID_DEST);
  }
  SUBCASE("a receive right sent to its own port dies") {
    const mach_port_name_t port = new_service();
    CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
          MACH_MSG_SUCCESS);
    CHECK(type_of(port) == MACH_PORT_TYPE_DEAD_NAME);
  }
  SUBCASE("two receive rights sent to each other die") {
    const mach_port_name_t one = new_service(), two = new_service();
    CHECK(message(two, MACH_MSG_TYPE_COPY_SEND, 0, {{one, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
          MACH_MSG_SUCCESS);
    CHECK(message(one, MACH_MSG_TYPE_COPY_SEND, 0, {{two, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
          MACH_MSG_SUCCESS);
    CHECK(type_of(one) == MACH_PORT_TYPE_DEAD_NAME);
    CHECK(type_of(two) == MACH_PORT_TYPE_DEAD_NAME);
  }
}

TEST_CASE(
    "a queue takes MACH_PORT_QLIMIT_DEFAULT messages, or set_limit's, and send-once ones beyond") {
  const mach_port_name_t port = new_service();
  fill(port);
  CHECK(status_of(port).mps_msgcount == MACH_PORT_QLIMIT_DEFAULT);
  CHECK(message(new_send_once(port), MACH_MSG_TYPE_MOVE_SEND_ONCE).send() == MACH_MSG_SUCCESS);
  CHECK(status_of(port).mps_msgcount == MACH_PORT_QLIMIT_DEFAULT + 1);
  CHECK(set_limit(port, MACH_PORT_QLIMIT_MAX + 1) == KERN_INVALID_VALUE);
  CHECK(set_limit(port, 8) == KERN_SUCCESS);
  fill(port);
  CHECK(status_of(port).mps_msgcount == 8);
  const mach_port_name_t none = new_service();
  CHECK(set_limit(none, 0) == KERN_SUCCESS);
  CHECK(message(none, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_TIMED_OUT);
}

TEST_CASE("a send with one dead name as destination and reply port consumes nothing") {
  const mach_port_name_t holder = new_port(), port = new_service();
  message moving(holder, MACH_MSG_TYPE_MAKE_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}});
  REQUIRE(moving.send() == MACH_MSG_SUCCESS);
  end_receive(holder);
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  CHECK(m.reply_to(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_DEST);
  CHECK(refs_of(port, MACH_PORT_RIGHT_DEAD_NAME) == 1);
}

TEST_CASE("a reserved right cannot be moved as the reply right") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(m.reply_to(mach_task_self(), MACH_MSG_TYPE_MOVE_SEND).send() == MACH_SEND_INVALID_REPLY);
  CHECK(next_id(port) == -1);
}

TEST_CASE(
    "a send right whose port has died unnoticed is refused as send-once, and becomes a dead name") {
  const mach_port_name_t holder = new_port(), port = new_service();
  // The send right stays here. The receive right moves away and dies.
  REQUIRE(
      message(holder, MACH_MSG_TYPE_MAKE_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
      MACH_MSG_SUCCESS);
  end_receive(holder);
  CHECK(message(port, MACH_MSG_TYPE_MOVE_SEND_ONCE).send() == MACH_SEND_INVALID_DEST);
  CHECK(type_of(port) == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  // The next port may reuse the dead one's memory. It must not inherit its name.
  const mach_port_name_t next = new_service();
  CHECK(refs_of(next, MACH_PORT_RIGHT_SEND) == 1);
}
