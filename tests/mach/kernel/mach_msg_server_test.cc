// mach_msg_server(), mach_msg_server_once() (Libsyscall's mach_msg.c), and the mig_*() functions of
// MIG's stubs.
#include <doctest/doctest.h>

#include <mach/mig.h>
#include <mach/mig_errors.h>

#include <cstring>
#include <string>
#include <thread>

#include "test_message.h"

using namespace test;

namespace {

constexpr mach_msg_size_t max_size = 256;

// The ids of requests, and what handle() does with each.
enum : mach_msg_id_t {
  echoes = 100,    // replies
  silent,          // no reply; keeps the reply right
  refuses,         // replies with an error
  complex,         // replies with a descriptor in place of RetCode
  no_destination,  // makes a reply without a destination
};

mach_port_name_t kept = MACH_PORT_NULL;
mach_msg_size_t largest = 0;

boolean_t handle(mach_msg_header_t* request, mach_msg_header_t* reply) {
  mig_reply_setup(request, reply);
  auto* const error = reinterpret_cast<mig_reply_error_t*>(reply);
  // As in MIG's stubs, the reply takes over the reply right.
  reply->msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(request->msgh_bits), 0u);
  reply->msgh_remote_port = request->msgh_remote_port;
  error->RetCode = KERN_SUCCESS;
  largest = request->msgh_size > largest ? request->msgh_size : largest;
  switch (request->msgh_id) {
    case silent:
      kept = request->msgh_remote_port;
      error->RetCode = MIG_NO_REPLY;
      break;
    case refuses:
      error->RetCode = KERN_INVALID_ARGUMENT;
      break;
    case complex: {
      reply->msgh_bits |= MACH_MSGH_BITS_COMPLEX;
      const mach_msg_body_t one{1};
      const mach_msg_port_descriptor_t descriptor = port_descriptor(kept, MACH_MSG_TYPE_COPY_SEND);
      char* const behind = reinterpret_cast<char*>(reply + 1);
      std::memcpy(behind, &one, sizeof one);
      std::memcpy(behind + sizeof one, &descriptor, sizeof descriptor);
      reply->msgh_size = sizeof(mach_msg_header_t) + sizeof one + sizeof descriptor;
      break;
    }
    case no_destination:
      mach_msg_destroy(request);
      reply->msgh_remote_port = MACH_PORT_NULL;
      break;
    default:
      break;
  }
  return TRUE;
}

// Sends a request to the service, with `reply_to` as its reply port.
void ask(mach_port_name_t service, mach_msg_id_t id, mach_port_name_t reply_to,
         mach_msg_type_name_t disposition = MACH_MSG_TYPE_MAKE_SEND_ONCE) {
  message m(service, MACH_MSG_TYPE_MAKE_SEND, id);
  REQUIRE(m.reply_to(reply_to, disposition).send() == MACH_MSG_SUCCESS);
}

mach_msg_return_t serve_once(mach_port_name_t from, mach_msg_options_t options = 0) {
  return mach_msg_server_once(handle, max_size, from, options);
}

kern_return_t result_of(message& reply) {
  mig_reply_error_t error;
  std::memcpy(&error, reply.bytes, sizeof error);
  return error.RetCode;
}

}  // namespace

TEST_CASE("mach_msg_server_once serves one request and sends its reply") {
  const mach_port_name_t service = new_port(), reply_to = new_port();
  ask(service, echoes, reply_to);
  CHECK(serve_once(service) == MACH_MSG_SUCCESS);
  message m;
  REQUIRE(m.receive(reply_to) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_id == echoes + 100);
  CHECK(result_of(m) == KERN_SUCCESS);
}

TEST_CASE("after MIG_NO_REPLY no reply is sent, and the handler owns the reply right") {
  const mach_port_name_t service = new_port(), reply_to = new_port();
  ask(service, silent, reply_to);
  CHECK(serve_once(service) == MACH_MSG_SUCCESS);
  CHECK(next_id(reply_to) == -1);
  CHECK(type_of(kept) == MACH_PORT_TYPE_SEND_ONCE);
}

TEST_CASE("after any other error the reply is sent and the request destroyed") {
  const mach_port_name_t service = new_port(), reply_to = new_port(), carried = new_port();
  message m(service, MACH_MSG_TYPE_MAKE_SEND, refuses, {{carried, MACH_MSG_TYPE_MAKE_SEND}});
  REQUIRE(m.reply_to(reply_to, MACH_MSG_TYPE_MAKE_SEND_ONCE).send() == MACH_MSG_SUCCESS);
  CHECK(serve_once(service) == MACH_MSG_SUCCESS);
  message reply;
  REQUIRE(reply.receive(reply_to) == MACH_MSG_SUCCESS);
  CHECK(result_of(reply) == KERN_INVALID_ARGUMENT);
  CHECK_FALSE(status_of(carried).mps_srights);
}

TEST_CASE("a complex reply is sent with its descriptor") {
  const mach_port_name_t service = new_port(), reply_to = new_port(), carried = new_service();
  kept = carried;
  ask(service, complex, reply_to);
  CHECK(serve_once(service) == MACH_MSG_SUCCESS);
  message reply;
  REQUIRE(reply.receive(reply_to) == MACH_MSG_SUCCESS);
  CHECK(reply.port_at(0) == carried);
  CHECK(refs_of(carried, MACH_PORT_RIGHT_SEND) == 2);
}

TEST_CASE("a reply without a destination is not sent, and the server goes on") {
  const mach_port_name_t service = new_port(), reply_to = new_port();
  ask(service, no_destination, reply_to);
  CHECK(serve_once(service) == MACH_MSG_SUCCESS);
  CHECK(next_id(reply_to) == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a client that is dead, or whose queue is full, does not block the server") {
  const mach_port_name_t service = new_port(), reply_to = new_port();
  SUBCASE("the reply port is dead") {
    ask(service, echoes, reply_to);
    REQUIRE(end_receive(reply_to) == KERN_SUCCESS);
    CHECK(serve_once(service) == MACH_MSG_SUCCESS);
  }
  SUBCASE("the reply port's queue is full") {
    REQUIRE(set_limit(reply_to, 1) == KERN_SUCCESS);
    ask(service, echoes, reply_to, MACH_MSG_TYPE_MAKE_SEND);
    ask(service, echoes, reply_to, MACH_MSG_TYPE_MAKE_SEND);
    CHECK(serve_once(service) == MACH_MSG_SUCCESS);
    CHECK(serve_once(service) == MACH_MSG_SUCCESS);
    CHECK(status_of(reply_to).mps_msgcount == 1);
    // The second reply's right was released.
    CHECK(next_id(reply_to) == echoes + 100);
    CHECK_FALSE(status_of(reply_to).mps_srights);
  }
}

TEST_CASE("mach_msg_server and mach_msg_server_once return the errors of the receive") {
  const mach_port_name_t service = new_port();
  CHECK(serve_once(new_port(), MACH_RCV_TIMEOUT) == MACH_RCV_TIMED_OUT);
  CHECK(serve_once(0x00fff703) == MACH_RCV_INVALID_NAME);
  CHECK(mach_msg_server(handle, max_size, new_port(), MACH_RCV_TIMEOUT) == MACH_RCV_TIMED_OUT);
  message m(service, MACH_MSG_TYPE_MAKE_SEND, echoes, {}, std::string(400, 'x').c_str());
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  CHECK(serve_once(service) == MACH_RCV_TOO_LARGE);
  CHECK(status_of(service).mps_msgcount == 0);
}

TEST_CASE("with MACH_RCV_LARGE the server receives a request larger than max_size") {
  const mach_port_name_t service = new_port(), reply_to = new_port();
  constexpr mach_msg_size_t size = 20000;
  vm_address_t memory = 0;
  REQUIRE(vm_allocate(mach_task_self(), &memory, size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  auto& big = *reinterpret_cast<mach_msg_header_t*>(memory);
  big.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  big.msgh_remote_port = service;
  big.msgh_local_port = reply_to;
  big.msgh_id = echoes;
  REQUIRE(mach_msg(&big, MACH_SEND_MSG, size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
          MACH_MSG_SUCCESS);
  largest = 0;
  CHECK(serve_once(service, MACH_RCV_LARGE) == MACH_MSG_SUCCESS);
  CHECK(largest == size);
  CHECK(next_id(reply_to) == echoes + 100);
  vm_deallocate(mach_task_self(), memory, size);
}

TEST_CASE("mach_msg_server serves 50 requests, and returns when its port dies") {
  const mach_port_name_t service = new_port(), reply_to = new_port();
  mach_msg_return_t ended = MACH_MSG_SUCCESS;
  std::thread server(
      [&] { ended = mach_msg_server(handle, max_size, service, MACH_RCV_INTERRUPT); });
  for (int each = 0; each < 50; ++each) {
    CAPTURE(each);
    ask(service, each % 2 ? echoes : refuses, reply_to);
    message reply;
    REQUIRE(mach_msg(&reply.header(), MACH_RCV_MSG, 0, sizeof reply.bytes, reply_to, 0,
                     MACH_PORT_NULL) == MACH_MSG_SUCCESS);
    CHECK(result_of(reply) == (each % 2 ? KERN_SUCCESS : KERN_INVALID_ARGUMENT));
  }
  REQUIRE(end_receive(service) == KERN_SUCCESS);
  server.join();
  CHECK((ended == MACH_RCV_PORT_DIED || ended == MACH_RCV_INVALID_NAME));
}

TEST_CASE("mig_get_reply_port gives each thread its own port until mig_dealloc_reply_port") {
  const mach_port_t first = mig_get_reply_port();
  CHECK(type_of(first) == MACH_PORT_TYPE_RECEIVE);
  CHECK(mig_get_reply_port() == first);
  mig_put_reply_port(first);
  CHECK(mig_get_reply_port() == first);
  mach_port_t other = MACH_PORT_NULL;
  std::thread([&other] { other = mig_get_reply_port(); }).join();
  CHECK(other != first);
  CHECK(type_of(other) == 0);
  mig_dealloc_reply_port(first);
  CHECK(type_of(first) == 0);
  CHECK(mig_get_reply_port() != first);
}

TEST_CASE("mig_strncpy terminates its copy, and mig_strncpy_zerofill fills the rest") {
  char room[8];
  std::memset(room, 'x', sizeof room);
  CHECK(mig_strncpy(room, "abc", 8) == 4);
  CHECK(std::string(room, 5) == std::string("abc\0x", 5));
  CHECK(mig_strncpy(room, "abcdefghij", 8) == 8);
  CHECK(std::string(room) == "abcdefg");
  CHECK(mig_strncpy(room, "abc", 0) == 0);
  CHECK(mig_strncpy_zerofill(room, "ab", 8) == 3);
  CHECK(std::string(room, 8) == std::string("ab\0\0\0\0\0\0", 8));
}
