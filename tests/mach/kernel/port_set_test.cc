// Port sets: membership, and receiving from members (Darwin: ipc_pset.c). Members take turns as in
// macOS 12 and later.
#include <doctest/doctest.h>

#include "test_message.h"

using namespace test;

namespace {

kern_return_t insert(mach_port_name_t port, mach_port_name_t set) {
  return mach_port_insert_member(mach_task_self(), port, set);
}
kern_return_t extract(mach_port_name_t port, mach_port_name_t set) {
  return mach_port_extract_member(mach_task_self(), port, set);
}
kern_return_t move(mach_port_name_t port, mach_port_name_t set) {
  return mach_port_move_member(mach_task_self(), port, set);
}
void send(mach_port_name_t port, mach_msg_id_t id) {
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, id).send() == MACH_MSG_SUCCESS);
}

}  // namespace

TEST_CASE("insert, extract and move_member return Darwin's codes for every kind of name") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET),
                         other = new_port(MACH_PORT_RIGHT_PORT_SET);
  CHECK(insert(port, set) == KERN_SUCCESS);
  CHECK(status_of(port).mps_pset == 1);
  CHECK(insert(port, set) == KERN_ALREADY_IN_SET);
  CHECK(insert(port, other) == KERN_SUCCESS);
  CHECK(extract(port, set) == KERN_SUCCESS);
  CHECK(extract(port, set) == KERN_NOT_IN_SET);
  CHECK(move(port, set) == KERN_SUCCESS);
  CHECK(extract(port, other) == KERN_NOT_IN_SET);
  CHECK(move(port, MACH_PORT_NULL) == KERN_SUCCESS);
  CHECK(move(port, MACH_PORT_NULL) == KERN_NOT_IN_SET);
  CHECK(insert(port, port) == KERN_INVALID_RIGHT);
  CHECK(insert(port, 0x00fff703) == KERN_INVALID_NAME);
  CHECK(insert(0x00fff703, set) == KERN_INVALID_NAME);
  CHECK(insert(set, set) == KERN_INVALID_RIGHT);
  CHECK(insert(MACH_PORT_NULL, set) == KERN_INVALID_RIGHT);
  CHECK(extract(port, MACH_PORT_DEAD) == KERN_INVALID_RIGHT);
  CHECK(move(port, MACH_PORT_DEAD) == KERN_INVALID_RIGHT);
}

TEST_CASE("receiving from a set takes members in turn, and msgh_local_port is the member") {
  const mach_port_name_t a = new_service(), b = new_service(),
                         set = new_port(MACH_PORT_RIGHT_PORT_SET);
  REQUIRE(insert(a, set) == KERN_SUCCESS);
  REQUIRE(insert(b, set) == KERN_SUCCESS);
  send(a, 1);
  send(a, 2);
  send(b, 3);
  message m;
  REQUIRE(m.receive(set) == MACH_MSG_SUCCESS);
  CHECK(m.header().msgh_local_port == a);
  CHECK(next_id(set) == 3);
  CHECK(next_id(set) == 2);
  CHECK(next_id(set) == -1);
}

TEST_CASE("a port in two sets gives each message once, to whichever receive comes first") {
  const mach_port_name_t port = new_service(), one = new_port(MACH_PORT_RIGHT_PORT_SET),
                         two = new_port(MACH_PORT_RIGHT_PORT_SET);
  insert(port, one);
  insert(port, two);
  send(port, 1);
  send(port, 2);
  send(port, 3);
  CHECK(next_id(one) == 1);
  CHECK(next_id(port) == 2);
  CHECK(next_id(two) == 3);
  CHECK(next_id(one) == -1);
}

TEST_CASE("messages queued at a port are received from a set after insert, not after extract") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  send(port, 1);
  send(port, 2);
  insert(port, set);
  CHECK(next_id(set) == 1);
  extract(port, set);
  CHECK(next_id(set) == -1);
  CHECK(next_id(port) == 2);
}

TEST_CASE("a set's death keeps its members alive, and a member's death keeps the set alive") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  insert(port, set);
  send(port, 1);
  CHECK(mach_port_mod_refs(mach_task_self(), set, MACH_PORT_RIGHT_PORT_SET, -1) == KERN_SUCCESS);
  CHECK(next_id(port) == 1);
  const mach_port_name_t again = new_port(MACH_PORT_RIGHT_PORT_SET);
  insert(port, again);
  send(port, 2);
  end_receive(port);
  CHECK(next_id(again) == -1);
  CHECK(type_of(again) == MACH_PORT_TYPE_PORT_SET);
}

TEST_CASE("get_set_status lists the members, and refuses a port (KERN_INVALID_RIGHT)") {
  const mach_port_name_t set = new_port(MACH_PORT_RIGHT_PORT_SET), port = new_port();
  mach_port_name_array_t members = nullptr;
  mach_msg_type_number_t count = 7;
  REQUIRE(mach_port_get_set_status(mach_task_self(), set, &members, &count) == KERN_SUCCESS);
  CHECK(count == 0);
  insert(port, set);
  REQUIRE(mach_port_get_set_status(mach_task_self(), set, &members, &count) == KERN_SUCCESS);
  REQUIRE(count == 1);
  CHECK(members[0] == port);
  vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(members), sizeof *members);
  CHECK(mach_port_get_set_status(mach_task_self(), port, &members, &count) == KERN_INVALID_RIGHT);
}
