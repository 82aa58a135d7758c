// Receive rights: attributes, guards, and what moving one resets (Darwin: mach_port.c,
// ipc_port_clear_receiver).
#include <doctest/doctest.h>

#include "test_message.h"

using namespace test;

TEST_CASE(
    "a moved receive right keeps queue, limit, senders and no-senders request, and loses the "
    "rest") {
  const mach_port_name_t port = new_service(), to = new_service(),
                         set = new_port(MACH_PORT_RIGHT_PORT_SET), notify = new_port();
  mach_port_insert_member(mach_task_self(), port, set);
  mach_port_set_context(mach_task_self(), port, 5);
  set_limit(port, 9);
  request(port, MACH_NOTIFY_NO_SENDERS, 0, notify);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 1).send() == MACH_MSG_SUCCESS);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 2).send() == MACH_MSG_SUCCESS);
  CHECK(next_id(port) == 1);
  REQUIRE(message(to, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
          MACH_MSG_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND);
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 3).send() == MACH_MSG_SUCCESS);
  message m;
  REQUIRE(m.receive(to) == MACH_MSG_SUCCESS);
  CHECK(m.port_at(0) == port);
  const mach_port_status_t status = status_of(port);
  CHECK(status.mps_mscount == 0);
  CHECK(status.mps_seqno == 0);
  CHECK(status.mps_pset == 0);
  CHECK(status.mps_qlimit == 9);
  CHECK(status.mps_nsrequest == 1);
  mach_port_context_t context = 1;
  CHECK(mach_port_get_context(mach_task_self(), port, &context) == KERN_SUCCESS);
  CHECK(context == 0);
  CHECK(next_id(port) == 2);
  CHECK(next_id(port) == 3);
}

TEST_CASE("get_attributes and set_attributes check flavor, count and right") {
  const mach_port_name_t port = new_port();
  integer_t words[20];
  mach_msg_type_number_t count = 0;
  const auto get = [&](mach_port_name_t name, mach_port_flavor_t flavor,
                       mach_msg_type_number_t room) {
    count = room;
    return mach_port_get_attributes(mach_task_self(), name, flavor, words, &count);
  };
  CHECK(get(port, MACH_PORT_LIMITS_INFO, 1) == KERN_SUCCESS);
  CHECK(words[0] == MACH_PORT_QLIMIT_DEFAULT);
  CHECK(get(port, MACH_PORT_LIMITS_INFO, 0) == KERN_FAILURE);
  CHECK(get(port, MACH_PORT_RECEIVE_STATUS, 9) == KERN_FAILURE);
  CHECK(get(port, MACH_PORT_RECEIVE_STATUS, 20) == KERN_SUCCESS);
  CHECK(count == 10);
  CHECK(get(port, MACH_PORT_INFO_EXT, 17) == KERN_SUCCESS);
  CHECK(get(port, MACH_PORT_TEMPOWNER, 17) == KERN_INVALID_ARGUMENT);
  CHECK(get(port, 99, 17) == KERN_INVALID_ARGUMENT);
  CHECK(get(MACH_PORT_NULL, MACH_PORT_LIMITS_INFO, 1) == KERN_SUCCESS);
  CHECK(count == 0);
  CHECK(get(MACH_PORT_NULL, MACH_PORT_RECEIVE_STATUS, 10) == KERN_INVALID_RIGHT);
  CHECK(get(0x00fff703, MACH_PORT_RECEIVE_STATUS, 10) == KERN_INVALID_NAME);
  CHECK(get(new_send_once(port), MACH_PORT_RECEIVE_STATUS, 10) == KERN_INVALID_RIGHT);
  CHECK(mach_port_set_attributes(mach_task_self(), port, MACH_PORT_TEMPOWNER, words, 0) ==
        KERN_SUCCESS);
  CHECK(status_of(port).mps_flags ==
        (MACH_PORT_STATUS_FLAG_TEMPOWNER | MACH_PORT_STATUS_FLAG_IMP_DONATION));
  CHECK(mach_port_set_attributes(mach_task_self(), port, MACH_PORT_RECEIVE_STATUS, words, 10) ==
        KERN_INVALID_ARGUMENT);
  CHECK(mach_port_set_mscount(mach_task_self(), port, 4) == KERN_SUCCESS);
  CHECK(mach_port_set_seqno(mach_task_self(), port, 5) == KERN_SUCCESS);
  CHECK(status_of(port).mps_mscount == 4);
  CHECK(status_of(port).mps_seqno == 5);
  CHECK(mach_port_set_seqno(mach_task_self(), MACH_PORT_NULL, 5) == KERN_INVALID_RIGHT);
}

TEST_CASE("guard refuses a second guard, swap_guard replaces one, unguard removes it") {
  const mach_port_name_t port = new_port();
  CHECK(mach_port_guard(mach_task_self(), port, 5, FALSE) == KERN_SUCCESS);
  CHECK(mach_port_guard(mach_task_self(), port, 6, FALSE) == KERN_INVALID_ARGUMENT);
  CHECK(mach_port_swap_guard(mach_task_self(), port, 5, 6) == KERN_SUCCESS);
  CHECK(mach_port_unguard(mach_task_self(), port, 6) == KERN_SUCCESS);
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(mach_port_guard(mach_task_self(), port, 5, FALSE) == KERN_INVALID_NAME);
  CHECK(mach_port_guard(mach_task_self(), new_port(MACH_PORT_RIGHT_PORT_SET), 5, FALSE) ==
        KERN_INVALID_RIGHT);
}
