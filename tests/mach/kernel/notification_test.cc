// The kernel's notifications: when each is sent, with what (Darwin: ipc_notify.c and
// mach_port_request_notification). The order at a port's death is that of macOS 15.
#include <doctest/doctest.h>

#include "test_message.h"

using namespace test;

namespace {

void fill(mach_port_name_t port) {
  while (message(port, MACH_MSG_TYPE_MAKE_SEND).send() == MACH_MSG_SUCCESS) {
  }
}

// Makes a send right whose receive right is elsewhere: in a message that is queued at `holder`.
mach_port_name_t new_remote(mach_port_name_t holder) {
  const mach_port_name_t port = new_service();
  message(holder, MACH_MSG_TYPE_MAKE_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send();
  return port;
}

}  // namespace

TEST_CASE("a dead-name notification carries the kernel's token and one reference to the name") {
  const mach_port_name_t port = new_service(), notify = new_port();
  REQUIRE(request(port, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_SUCCESS);
  CHECK(type_of(port) == (MACH_PORT_TYPE_SEND_RECEIVE | MACH_PORT_TYPE_DNREQUEST));
  end_receive(port);
  CHECK(refs_of(port, MACH_PORT_RIGHT_DEAD_NAME) == 2);  // before it is received
  message m;
  REQUIRE(m.receive(notify, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_id == MACH_NOTIFY_DEAD_NAME);
  CHECK(m.header().msgh_size == 36);
  CHECK(m.notification_word() == port);
  CHECK(MACH_MSGH_BITS_LOCAL(m.header().msgh_bits) == MACH_MSG_TYPE_MOVE_SEND_ONCE);
  CHECK(m.header().msgh_remote_port == MACH_PORT_NULL);
  CHECK(m.trailer().msgh_audit.val[5] == 0);  // the kernel's token
  CHECK(m.trailer().msgh_sender.val[1] == 1);
}

TEST_CASE("a dead-name request for a dead name fails, and a send-possible one notifies at once") {
  const mach_port_name_t dead = new_port(MACH_PORT_RIGHT_DEAD_NAME), notify = new_port();
  CHECK(request(dead, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_INVALID_ARGUMENT);
  CHECK(request(dead, MACH_NOTIFY_DEAD_NAME, 1, notify) == KERN_INVALID_ARGUMENT);
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);  // the failure has destroyed the right
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  CHECK(request(dead, MACH_NOTIFY_SEND_POSSIBLE, 0, notify) == KERN_SUCCESS);
  CHECK(next_id(notify) == MACH_NOTIFY_DEAD_NAME);
  CHECK(refs_of(dead, MACH_PORT_RIGHT_DEAD_NAME) == 2);
}

TEST_CASE("a dead-name and a send-possible request displace each other") {
  const mach_port_name_t port = new_service(), notify = new_port();
  mach_port_name_t previous = 0;
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, notify, &previous) == KERN_SUCCESS);
  CHECK(previous == MACH_PORT_NULL);
  CHECK(request(port, MACH_NOTIFY_SEND_POSSIBLE, 0, notify, &previous) == KERN_SUCCESS);
  CHECK(type_of(previous) == MACH_PORT_TYPE_SEND_ONCE);
  mach_port_name_t cancelled = 0;
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, MACH_PORT_NULL, &cancelled) == KERN_SUCCESS);
  CHECK(type_of(cancelled) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(next_id(notify) == -1);
}

TEST_CASE("deallocating a watched name sends port-deleted while the port lives") {
  const mach_port_name_t holder = new_port(), notify = new_port();
  const mach_port_name_t port = new_remote(holder);
  REQUIRE(request(port, MACH_NOTIFY_SEND_POSSIBLE, 0, notify) == KERN_SUCCESS);
  mach_port_deallocate(mach_task_self(), port);
  message m;
  REQUIRE(m.receive(notify) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_id == MACH_NOTIFY_PORT_DELETED);
  CHECK(m.notification_word() == port);
}

TEST_CASE("a send-possible request notifies once of room, or of the port's death") {
  const mach_port_name_t port = new_service(), notify = new_port();
  SUBCASE("with sync it fires at once if there is room") {
    CHECK(request(port, MACH_NOTIFY_SEND_POSSIBLE, 1, notify) == KERN_SUCCESS);
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_POSSIBLE);
  }
  SUBCASE("a send with MACH_SEND_NOTIFY to a full queue arms it, and the next receive fires it") {
    REQUIRE(request(port, MACH_NOTIFY_SEND_POSSIBLE, 0, notify) == KERN_SUCCESS);
    fill(port);
    message drained;
    CHECK(drained.receive(port) == MACH_MSG_SUCCESS);
    CHECK(next_id(notify) == -1);  // without MACH_SEND_NOTIFY it was not armed
    fill(port);
    CHECK(message(port, MACH_MSG_TYPE_COPY_SEND).send(MACH_SEND_NOTIFY) == MACH_SEND_TIMED_OUT);
    CHECK(next_id(notify) == -1);
    CHECK(drained.receive(port) == MACH_MSG_SUCCESS);
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_POSSIBLE);
    CHECK(drained.receive(port) == MACH_MSG_SUCCESS);
    CHECK(next_id(notify) == -1);  // one shot
  }
  SUBCASE("raising the queue limit does not fire it") {
    fill(port);
    REQUIRE(request(port, MACH_NOTIFY_SEND_POSSIBLE, 1, notify) == KERN_SUCCESS);
    set_limit(port, 100);
    CHECK(next_id(notify) == -1);
  }
  SUBCASE(
      "after it has fired, the death of the port adds a reference only in the receiver's space") {
    fill(port);
    REQUIRE(request(port, MACH_NOTIFY_SEND_POSSIBLE, 1, notify) == KERN_SUCCESS);
    message drained;
    CHECK(drained.receive(port) == MACH_MSG_SUCCESS);
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_POSSIBLE);
    mach_port_urefs_t refs = refs_of(port, MACH_PORT_RIGHT_SEND);
    SUBCASE("the receive right dies under the same name") {
      end_receive(port);
      ++refs;  // ipc_right_delta checks that a slot exists, not that a request is in it
    }
    SUBCASE("the receive right dies elsewhere") {
      const mach_port_name_t holder = new_port();
      message moving(holder, MACH_MSG_TYPE_MAKE_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}});
      REQUIRE(moving.send() == MACH_MSG_SUCCESS);
      end_receive(holder);
    }
    CHECK(next_id(notify) == -1);
    CHECK(refs_of(port, MACH_PORT_RIGHT_DEAD_NAME) == refs);
  }
  SUBCASE("if the port dies, it becomes a dead-name notification") {
    fill(port);
    REQUIRE(request(port, MACH_NOTIFY_SEND_POSSIBLE, 0, notify) == KERN_SUCCESS);
    end_receive(port);
    CHECK(next_id(notify) == MACH_NOTIFY_DEAD_NAME);
  }
}

TEST_CASE("a no-senders request notifies when the last send right goes") {
  const mach_port_name_t port = new_port(), notify = new_port();
  SUBCASE("it fires at once without senders, even if none was ever made") {
    CHECK(request(port, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_SUCCESS);
    CHECK(next_id(notify) == MACH_NOTIFY_NO_SENDERS);
  }
  SUBCASE("it does not fire while the make-send count is below sync") {
    CHECK(request(port, MACH_NOTIFY_NO_SENDERS, 1, notify) == KERN_SUCCESS);
    CHECK(next_id(notify) == -1);
  }
  SUBCASE("rights in queued messages count, and the notification has the make-send count") {
    mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND);
    REQUIRE(request(port, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_SUCCESS);
    REQUIRE(message(port, MACH_MSG_TYPE_MOVE_SEND).send() == MACH_MSG_SUCCESS);
    CHECK(next_id(notify) == -1);
    message m;
    REQUIRE(m.receive(port) == MACH_MSG_SUCCESS);
    REQUIRE(m.receive(notify) == MACH_MSG_SUCCESS);
    CHECK(m.header().msgh_id == MACH_NOTIFY_NO_SENDERS);
    CHECK(m.notification_word() == 1);
  }
  SUBCASE("a second request returns the right of the first") {
    mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND);
    mach_port_name_t previous = 0;
    CHECK(request(port, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_SUCCESS);
    CHECK(request(port, MACH_NOTIFY_NO_SENDERS, 0, notify, &previous) == KERN_SUCCESS);
    CHECK(type_of(previous) == MACH_PORT_TYPE_SEND_ONCE);
  }
  SUBCASE("it needs a receive right") {
    CHECK(request(new_port(MACH_PORT_RIGHT_PORT_SET), MACH_NOTIFY_NO_SENDERS, 0, notify) ==
          KERN_INVALID_RIGHT);
    CHECK(request(MACH_PORT_NULL, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_INVALID_RIGHT);
    CHECK(request(0x00fff703, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_INVALID_NAME);
  }
}

TEST_CASE("a port-destroyed notification carries the receive right, with its queue and senders") {
  const mach_port_name_t port = new_service(), notify = new_port();
  CHECK(request(port, MACH_NOTIFY_PORT_DESTROYED, 1, notify) == KERN_INVALID_VALUE);
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  REQUIRE(request(port, MACH_NOTIFY_PORT_DESTROYED, 0, notify) == KERN_SUCCESS);
  CHECK(request(port, MACH_NOTIFY_PORT_DESTROYED, 0, notify) == KERN_FAILURE);
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 77).send() == MACH_MSG_SUCCESS);
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND);
  message m;
  REQUIRE(m.receive(notify) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_id == MACH_NOTIFY_PORT_DESTROYED);
  CHECK(m.header().msgh_size == 40);
  CHECK(m.port_at(0) == port);
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(next_id(port) == 77);
}

TEST_CASE("request_notification refuses bad ids, notify ports and names") {
  const mach_port_name_t port = new_service(), notify = new_port();
  CHECK(request(port, 71, 0, notify) == KERN_INVALID_VALUE);
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, MACH_PORT_DEAD) == KERN_INVALID_CAPABILITY);
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, 0x00fff703) == KERN_INVALID_NAME);
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, new_port(MACH_PORT_RIGHT_PORT_SET)) ==
        KERN_INVALID_RIGHT);
  CHECK(request(new_port(MACH_PORT_RIGHT_PORT_SET), MACH_NOTIFY_DEAD_NAME, 0, notify) ==
        KERN_INVALID_RIGHT);
  CHECK(request(MACH_PORT_DEAD, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_INVALID_ARGUMENT);
  CHECK(request(0x00fff703, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_INVALID_NAME);
}

TEST_CASE("a dying port destroys its messages, then its no-senders request, then sends dead-name") {
  const mach_port_name_t port = new_service(), witness = new_port();
  REQUIRE(request(port, MACH_NOTIFY_DEAD_NAME, 0, witness) == KERN_SUCCESS);
  REQUIRE(request(port, MACH_NOTIFY_NO_SENDERS, 0, witness) == KERN_SUCCESS);
  set_limit(witness, 10);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.reply_to(witness, MACH_MSG_TYPE_MAKE_SEND_ONCE).send() == MACH_MSG_SUCCESS);
  end_receive(port);
  CHECK(next_id(witness) == MACH_NOTIFY_SEND_ONCE);  // the queued message's reply right
  CHECK(next_id(witness) == MACH_NOTIFY_SEND_ONCE);  // the no-senders request's right
  CHECK(next_id(witness) == MACH_NOTIFY_DEAD_NAME);
  CHECK(next_id(witness) == -1);
}

TEST_CASE(
    "20,000 receive rights, each queued at the one before, die without overflowing the stack") {
  constexpr int length = 20000;
  const mach_port_name_t first = new_service();
  mach_port_name_t last = first;
  for (int each = 0; each < length; ++each) {
    const mach_port_name_t next = new_service();
    // Each receive right is queued at the port before, so the first port owns the whole chain.
    REQUIRE(
        message(last, MACH_MSG_TYPE_COPY_SEND, 0, {{next, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
        MACH_MSG_SUCCESS);
    if (last != first) mach_port_deallocate(mach_task_self(), last);
    last = next;
  }
  CHECK(end_receive(first) == KERN_SUCCESS);
  CHECK(type_of(last) == MACH_PORT_TYPE_DEAD_NAME);
}
