// Guarded port descriptors (Darwin: ipc_kmsg_copyin_guarded_port_descriptor). The
// exceptions of wrong guards are in guard_exception_test.
#include <doctest/doctest.h>

#include "test_message.h"

using namespace test;

namespace {

constexpr auto immovable = MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE;
constexpr auto unguarded = MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;

mach_port_name_t new_guarded(mach_port_context_t guard) {
  const mach_port_name_t port = new_port();
  REQUIRE(mach_port_guard(mach_task_self(), port, guard, 1) == KERN_SUCCESS);
  return port;
}

mach_msg_return_t send_to(mach_port_name_t port,
                          const mach_msg_guarded_port_descriptor_t& descriptor) {
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  return m.with(descriptor).with_body("tail").send();
}

}  // namespace

TEST_CASE("a right sent UNGUARDED_ON_SEND arrives without a guard, with the flag and no context") {
  const mach_port_name_t port = new_service(), moving = new_port();
  REQUIRE(send_to(port, guarded_descriptor(moving, unguarded)) == MACH_MSG_SUCCESS);
  CHECK(type_of(moving) == 0);
  message got;
  REQUIRE(got.receive(port, MACH_RCV_GUARDED_DESC) == MACH_MSG_SUCCESS);
  const auto arrived = got.at<mach_msg_guarded_port_descriptor_t>();
  CHECK(arrived.type == MACH_MSG_GUARDED_PORT_DESCRIPTOR);
  CHECK(arrived.disposition == MACH_MSG_TYPE_MOVE_RECEIVE);
  CHECK(arrived.flags == unguarded);
  CHECK(arrived.context == 0);
  CHECK(type_of(arrived.name) == MACH_PORT_TYPE_RECEIVE);
  CHECK(status_of(arrived.name).mps_flags == 0);
  CHECK(end_receive(arrived.name) == KERN_SUCCESS);
}

TEST_CASE("a right sent IMMOVABLE_RECEIVE arrives guarded by the address of the receive buffer") {
  const mach_port_name_t port = new_service(), moving = new_port();
  REQUIRE(send_to(port, guarded_descriptor(moving, immovable | unguarded)) == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port, MACH_RCV_GUARDED_DESC) == MACH_MSG_SUCCESS);
  const auto arrived = got.at<mach_msg_guarded_port_descriptor_t>();
  const auto buffer = reinterpret_cast<std::uintptr_t>(&got.header());
  CHECK(arrived.flags == immovable);
  CHECK(arrived.context == buffer);
  const auto flags = status_of(arrived.name).mps_flags;
  CHECK((flags & MACH_PORT_STATUS_FLAG_GUARDED) != 0);
  CHECK((flags & MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE) != 0);
  CHECK((flags & MACH_PORT_STATUS_FLAG_STRICT_GUARD) == 0);
  CHECK(mach_port_destruct(mach_task_self(), arrived.name, 0, buffer) == KERN_SUCCESS);
}

TEST_CASE("mach_msg_overwrite guards the right by the address of its second buffer") {
  const mach_port_name_t port = new_service(), moving = new_port();
  message m(port, MACH_MSG_TYPE_COPY_SEND), got;
  m.with(guarded_descriptor(moving, immovable | unguarded));
  REQUIRE(mach_msg_overwrite(&m.header(), MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_GUARDED_DESC,
                             m.size, sizeof got.bytes, port, 0, MACH_PORT_NULL, &got.header(),
                             0) == MACH_MSG_SUCCESS);
  const auto arrived = got.at<mach_msg_guarded_port_descriptor_t>();
  const auto buffer = reinterpret_cast<std::uintptr_t>(&got.header());
  CHECK(arrived.context == buffer);
  CHECK(mach_port_destruct(mach_task_self(), arrived.name, 0, buffer) == KERN_SUCCESS);
}

TEST_CASE("a guarded right is sent by its guard, and arrives with another") {
  const mach_port_name_t port = new_service(), moving = new_guarded(7);
  REQUIRE(send_to(port, guarded_descriptor(moving, immovable, 7)) == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port, MACH_RCV_GUARDED_DESC) == MACH_MSG_SUCCESS);
  const auto arrived = got.at<mach_msg_guarded_port_descriptor_t>();
  CHECK(mach_port_unguard(mach_task_self(), arrived.name,
                          reinterpret_cast<std::uintptr_t>(&got.header())) == KERN_SUCCESS);
  CHECK(end_receive(arrived.name) == KERN_SUCCESS);
}

TEST_CASE("mach_msg_destroy unguards the right and destroys it") {
  const mach_port_name_t port = new_service(), moving = new_port();
  REQUIRE(send_to(port, guarded_descriptor(moving, immovable | unguarded)) == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port, MACH_RCV_GUARDED_DESC) == MACH_MSG_SUCCESS);
  const auto arrived = got.at<mach_msg_guarded_port_descriptor_t>();
  mach_msg_destroy(&got.header());
  CHECK(type_of(arrived.name) == 0);
}

TEST_CASE(
    "a receive without MACH_RCV_GUARDED_DESC gets a plain null descriptor, and the right dies") {
  const mach_port_name_t port = new_service(), moving = new_service();
  REQUIRE(request(moving, MACH_NOTIFY_DEAD_NAME, 0, port) == KERN_SUCCESS);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(guarded_descriptor(moving, immovable | unguarded))
      .with(port_descriptor(port, MACH_MSG_TYPE_COPY_SEND))
      .with_body("tail");
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  CHECK(got.header().msgh_size == m.size - 4);  // a plain descriptor is shorter
  const auto plain = got.at<mach_msg_port_descriptor_t>();
  CHECK(plain.type == MACH_MSG_PORT_DESCRIPTOR);
  CHECK(plain.name == MACH_PORT_NULL);
  CHECK(plain.disposition == MACH_MSG_TYPE_MOVE_RECEIVE);
  CHECK(got.at<mach_msg_port_descriptor_t>(sizeof plain).name == port);
  CHECK(std::memcmp(got.bytes + got.header().msgh_size - 4, "tail", 4) == 0);
  CHECK(got.trailer<mach_msg_trailer_t>().msgh_trailer_size == MACH_MSG_TRAILER_MINIMUM_SIZE);
  CHECK(next_id(port) == MACH_NOTIFY_DEAD_NAME);
  CHECK(type_of(moving) == MACH_PORT_TYPE_DEAD_NAME);
}

TEST_CASE("a null or dead name in a guarded descriptor arrives with its flags") {
  const mach_port_name_t port = new_service();
  for (const mach_port_name_t none : {MACH_PORT_NULL + 0u, MACH_PORT_DEAD}) {
    for (const mach_msg_guard_flags_t flags : {immovable + 0u, unguarded + 0u}) {
      CAPTURE(none);
      CAPTURE(flags);
      REQUIRE(send_to(port, guarded_descriptor(none, flags)) == MACH_MSG_SUCCESS);
      message got;
      REQUIRE(got.receive(port, MACH_RCV_GUARDED_DESC) == MACH_MSG_SUCCESS);
      const auto arrived = got.at<mach_msg_guarded_port_descriptor_t>();
      CHECK(arrived.name == none);
      CHECK(arrived.flags == flags);
      CHECK(arrived.context == 0);
    }
  }
}

TEST_CASE("class 1: a guarded descriptor with bad flags, context or disposition consumes nothing") {
  const mach_port_name_t port = new_service(), moving = new_service();
  const auto refused = [&](const mach_msg_guarded_port_descriptor_t& descriptor) {
    message m(port, MACH_MSG_TYPE_MOVE_SEND);
    CHECK(m.with(descriptor).send() == MACH_SEND_INVALID_TYPE);
    CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
    CHECK(type_of(moving) == MACH_PORT_TYPE_SEND_RECEIVE);
  };
  refused(guarded_descriptor(moving, MACH_MSG_GUARD_FLAGS_NONE));
  refused(guarded_descriptor(moving, MACH_MSG_GUARD_FLAGS_MASK + 1));
  refused(guarded_descriptor(moving, unguarded, 5));
  auto other = guarded_descriptor(moving, unguarded);
  other.disposition = MACH_MSG_TYPE_MOVE_SEND;
  refused(other);
}

TEST_CASE("class 2: a guarded descriptor refuses an unknown name and a port set") {
  const mach_port_name_t port = new_service();
  CHECK(send_to(port, guarded_descriptor(0x00fff703, unguarded)) == MACH_SEND_INVALID_RIGHT);
  CHECK(send_to(port, guarded_descriptor(new_port(MACH_PORT_RIGHT_PORT_SET), unguarded)) ==
        MACH_SEND_INVALID_RIGHT);
  CHECK(status_of(port).mps_msgcount == 0);
}

TEST_CASE("class 3: a right given back is guarded again, but not immovable") {
  const mach_port_name_t port = new_service(), moving = new_port(), other = new_port();
  REQUIRE(set_limit(port, 0) == KERN_SUCCESS);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(guarded_descriptor(moving, immovable | unguarded))
      .with(guarded_descriptor(other, unguarded));
  REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
  const auto back = m.at<mach_msg_guarded_port_descriptor_t>();
  CHECK(back.type == MACH_MSG_GUARDED_PORT_DESCRIPTOR);
  CHECK(back.flags == immovable);
  CHECK((status_of(back.name).mps_flags & MACH_PORT_STATUS_FLAG_GUARDED) != 0);
  CHECK((status_of(back.name).mps_flags & MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE) == 0);
  const auto second = m.at<mach_msg_guarded_port_descriptor_t>(sizeof back);
  CHECK(second.flags == unguarded);
  CHECK(status_of(second.name).mps_flags == 0);
  CHECK(mach_port_destruct(mach_task_self(), back.name, 0, back.context) == KERN_SUCCESS);
  CHECK(end_receive(second.name) == KERN_SUCCESS);
}
