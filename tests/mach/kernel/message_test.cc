// mach_msg: sending and receiving in one thread (Darwin: ipc_kmsg.c).
#include <doctest/doctest.h>

#include <mach/mig_errors.h>
#include <unistd.h>

#include "test_message.h"

using namespace test;

TEST_CASE("a message arrives with its bytes, and with the ports of its header swapped") {
  const mach_port_name_t port = new_service(), reply = new_port();
  message out(port, MACH_MSG_TYPE_COPY_SEND, 42, {}, "sixteen bytes...");
  out.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  REQUIRE(out.send() == MACH_MSG_SUCCESS);
  message in;
  REQUIRE(in.receive(port) == MACH_MSG_SUCCESS);
  CHECK(in.header().msgh_id == 42);
  CHECK(in.header().msgh_size == out.size);
  CHECK(in.header().msgh_local_port == port);
  CHECK(type_of(in.header().msgh_remote_port) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(in.header().msgh_bits ==
        MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, MACH_MSG_TYPE_MOVE_SEND));
  CHECK(std::memcmp(in.bytes + 24, "sixteen bytes...", 16) == 0);
  mach_msg_destroy(&in.header());
  CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a send with a bad size or header fails and consumes nothing") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  for (const mach_msg_size_t size : {0u, 20u, 23u, 25u, 26u}) {
    CAPTURE(size);
    m.size = size;
    CHECK(m.send() == MACH_SEND_MSG_TOO_SMALL);
  }
  m.size = 24;
  m.header().msgh_bits |= MACH_MSGH_BITS_COMPLEX;
  CHECK(m.send() == MACH_SEND_MSG_TOO_SMALL);
  m = message(port, MACH_MSG_TYPE_MOVE_RECEIVE);
  CHECK(m.send() == MACH_SEND_INVALID_HEADER);
  m = message(port, MACH_MSG_TYPE_PORT_NONE);
  CHECK(m.send() == MACH_SEND_INVALID_HEADER);
  m = message(port, MACH_MSG_TYPE_COPY_SEND);
  m.header().msgh_local_port = port;  // a name without a disposition
  CHECK(m.send() == MACH_SEND_INVALID_HEADER);
  CHECK(message(MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_DEST);
  CHECK(message(MACH_PORT_DEAD, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_DEST);
  CHECK(message(new_port(), MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_DEST);
  CHECK(message(new_port(MACH_PORT_RIGHT_PORT_SET), MACH_MSG_TYPE_MAKE_SEND).send() ==
        MACH_SEND_INVALID_DEST);
  m = message(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(m.reply_to(0x00fff703, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_REPLY);
  m = message(port, MACH_MSG_TYPE_COPY_SEND);
  const mach_port_name_t dead = new_port(MACH_PORT_RIGHT_DEAD_NAME);
  CHECK(m.reply_to(dead, MACH_MSG_TYPE_MOVE_SEND).send() == MACH_SEND_INVALID_REPLY);
  CHECK(refs_of(dead, MACH_PORT_RIGHT_DEAD_NAME) == 1);
  m = message(port, MACH_MSG_TYPE_COPY_SEND);
  m.header().msgh_bits |= MACH_MSGH_BITS_SET_PORTS(0u, 0u, MACH_MSG_TYPE_COPY_SEND);
  m.header().msgh_voucher_port = port;
  CHECK(m.send() == MACH_SEND_INVALID_VOUCHER);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(next_id(port) == -1);
}

TEST_CASE("mach_msg refuses a null buffer (INVALID_DATA)") {
  const mach_port_name_t port = new_service();
  CHECK(mach_msg(nullptr, MACH_SEND_MSG, 24, 0, 0, 0, 0) == MACH_SEND_INVALID_DATA);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  CHECK(mach_msg(nullptr, MACH_RCV_MSG, 0, 100, port, 0, 0) == MACH_RCV_INVALID_DATA);
}

TEST_CASE("one name as destination and reply port needs a reference for each") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  CHECK(m.reply_to(port, MACH_MSG_TYPE_MOVE_SEND).send() == MACH_SEND_INVALID_DEST);
  m = message(port, MACH_MSG_TYPE_MOVE_SEND);
  CHECK(m.reply_to(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_RECEIVE);
  REQUIRE(m.receive(port) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_remote_port == port);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("port descriptors arrive as rights, and malformed ones consume nothing") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  SUBCASE("each disposition arrives as the right that it made") {
    message m(port, MACH_MSG_TYPE_COPY_SEND, 1,
              {{cargo, MACH_MSG_TYPE_COPY_SEND},
               {cargo, MACH_MSG_TYPE_MAKE_SEND},
               {cargo, MACH_MSG_TYPE_MAKE_SEND_ONCE},
               {MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND},
               {MACH_PORT_DEAD, 99}});
    REQUIRE(m.send() == MACH_MSG_SUCCESS);
    REQUIRE(m.receive(port) == MACH_MSG_SUCCESS);
    CHECK(MACH_MSGH_BITS_IS_COMPLEX(m.header().msgh_bits));
    CHECK(m.port_at(0) == cargo);
    CHECK(m.port_at(1) == cargo);
    CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 3);
    CHECK(type_of(m.port_at(2)) == MACH_PORT_TYPE_SEND_ONCE);
    CHECK(m.descriptor(2).disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE);
    CHECK(m.port_at(3) == MACH_PORT_NULL);
    CHECK(m.descriptor(3).disposition == MACH_MSG_TYPE_MOVE_SEND);
    CHECK(m.port_at(4) == MACH_PORT_DEAD);
    CHECK(m.descriptor(4).disposition == 0);
  }
  SUBCASE("seven descriptors arrive, more than fit into the kmsg itself") {
    message m(port, MACH_MSG_TYPE_COPY_SEND, 1,
              {{cargo, 19},
               {cargo, 19},
               {cargo, 19},
               {cargo, 19},
               {cargo, 19},
               {cargo, 19},
               {cargo, 19}});
    REQUIRE(m.send() == MACH_MSG_SUCCESS);
    REQUIRE(m.receive(port) == MACH_MSG_SUCCESS);
    CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 8);
    mach_msg_destroy(&m.header());
    CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
  }
  SUBCASE("an unknown kind, and more descriptors than the message has room for, consume nothing") {
    message m(port, MACH_MSG_TYPE_COPY_SEND, 1, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
    m.bytes[sizeof(mach_msg_base_t) + 11] = MACH_MSG_DESCRIPTOR_MAX + 1;
    CHECK(m.send() == MACH_SEND_INVALID_TYPE);
    m = message(port, MACH_MSG_TYPE_COPY_SEND, 1, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
    m.bytes[24] = 2;
    CHECK(m.send() == MACH_SEND_MSG_TOO_SMALL);
    CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
  }
}

TEST_CASE("each trailer type has its size and its elements") {
  const mach_port_name_t port = new_service();
  const mach_msg_trailer_size_t sizes[] = {8, 12, 20, 52, 60};
  for (mach_msg_option_t elements = 0; elements < 5; ++elements) {
    CAPTURE(elements);
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    REQUIRE(m.send() == MACH_MSG_SUCCESS);
    REQUIRE(m.receive(port, MACH_RCV_TRAILER_ELEMENTS(elements)) == MACH_MSG_SUCCESS);
    const auto trailer = m.trailer<mach_msg_context_trailer_t>();
    CHECK(trailer.msgh_trailer_size == sizes[elements]);
    if (elements >= 1) CHECK(trailer.msgh_seqno == static_cast<mach_port_seqno_t>(elements));
    if (elements >= 3) CHECK(trailer.msgh_audit.val[5] == static_cast<unsigned>(getpid()));
    if (elements >= 2) CHECK(trailer.msgh_sender.val[0] == geteuid());
  }
}

TEST_CASE("a message that is larger than the buffer gives MACH_RCV_TOO_LARGE") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND, 7, {}, "0123456789abcdef");
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message in;
  SUBCASE("with MACH_RCV_LARGE it stays queued, and the header has its size and port") {
    CHECK(in.receive(port, MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY, 40) == MACH_RCV_TOO_LARGE);
    CHECK(in.header().msgh_size == 40);
    CHECK(in.header().msgh_local_port == port);
    CHECK(in.receive(port, MACH_RCV_LARGE, 48) == MACH_MSG_SUCCESS);
  }
  SUBCASE("without MACH_RCV_LARGE it is destroyed, and the buffer has its header") {
    CHECK(in.receive(port, 0, 40) == MACH_RCV_TOO_LARGE);
    CHECK(in.header().msgh_id == 7);
    CHECK(in.header().msgh_size == 24);
    CHECK(next_id(port) == -1);
  }
  SUBCASE("no byte behind the buffer is written") {
    CHECK(in.receive(port, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), 28) ==
          MACH_RCV_TOO_LARGE);
    for (int at = 28; at < 100; ++at) {
      CAPTURE(at);
      CHECK(in.bytes[at] == 0);
    }
  }
  SUBCASE("a buffer smaller than a header destroys the message (INVALID_DATA)") {
    CHECK(in.receive(port, 0, 20) == MACH_RCV_INVALID_DATA);
    CHECK(next_id(port) == -1);
  }
}

TEST_CASE("a receive from a name without a receive right fails with INVALID_NAME") {
  message in;
  CHECK(in.receive(MACH_PORT_NULL) == MACH_RCV_INVALID_NAME);
  CHECK(in.receive(MACH_PORT_DEAD) == MACH_RCV_INVALID_NAME);
  CHECK(in.receive(0x00fff703) == MACH_RCV_INVALID_NAME);
  CHECK(in.receive(new_send_once(new_port())) == MACH_RCV_INVALID_NAME);
  CHECK(in.receive(new_port()) == MACH_RCV_TIMED_OUT);
}

TEST_CASE("one mach_msg sends a message and receives it") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND, 3);
  CHECK(mach_msg(&m.header(), MACH_SEND_MSG | MACH_RCV_MSG, m.size, sizeof m.bytes, port, 0, 0) ==
        MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_id == 3);
  CHECK(m.header().msgh_local_port == port);
}

TEST_CASE("messages of 24 bytes to 1.2 MB arrive unchanged, and 64 MiB is refused") {
  const mach_port_name_t port = new_service();
  for (const std::size_t words : {0u, 1u, 30u, 45u, 300u, 5000u, 20000u, 300000u}) {
    CAPTURE(words);
    std::vector<natural_t> out(6 + words), in(6 + words + 32);
    for (std::size_t each = 0; each < words; ++each)
      out[6 + each] = static_cast<natural_t>(each * 7);
    auto* header = reinterpret_cast<mach_msg_header_t*>(out.data());
    header->msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    header->msgh_remote_port = port;
    REQUIRE(mach_msg(header, MACH_SEND_MSG, static_cast<mach_msg_size_t>(out.size() * 4), 0, 0, 0,
                     0) == MACH_MSG_SUCCESS);
    auto* got = reinterpret_cast<mach_msg_header_t*>(in.data());
    REQUIRE(mach_msg(got, MACH_RCV_MSG, 0, static_cast<mach_msg_size_t>(in.size() * 4), port, 0,
                     0) == MACH_MSG_SUCCESS);
    CHECK(std::memcmp(out.data() + 6, in.data() + 6, words * 4) == 0);
  }
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.size = 64u * 1024 * 1024;
  CHECK(m.send() == MACH_SEND_TOO_LARGE);
}

TEST_CASE("a message to the task port is answered with MIG_BAD_ID") {
  const mach_port_name_t reply = new_port();
  message m(mach_task_self(), MACH_MSG_TYPE_COPY_SEND, 3200);
  REQUIRE(m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE).send() == MACH_MSG_SUCCESS);
  REQUIRE(m.receive(reply) == MACH_MSG_SUCCESS);
  mig_reply_error_t error;
  std::memcpy(&error, m.bytes, sizeof error);
  CHECK(error.Head.msgh_id == 3300);
  CHECK(error.RetCode == MIG_BAD_ID);
}
