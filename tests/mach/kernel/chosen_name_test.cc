// Names of the caller's choice: the order of faults in ipc_entry_alloc_name, which comes before the
// faults of the port in ipc_object_copyout_name and in ipc_object_alloc_name.
#include <doctest/doctest.h>

#include <functional>

#include "test_message.h"

using namespace test;

namespace {

kern_return_t insert(mach_port_name_t name, mach_port_t right,
                     mach_msg_type_name_t disposition = MACH_MSG_TYPE_MAKE_SEND) {
  return mach_port_insert_right(mach_task_self(), name, right, disposition);
}

kern_return_t allocate(mach_port_right_t right, mach_port_name_t name) {
  return mach_port_allocate_name(mach_task_self(), right, name);
}

// A name that is not in use, as the kernel makes them.
mach_port_name_t unused_name() {
  const mach_port_name_t name = new_port(MACH_PORT_RIGHT_DEAD_NAME);
  mach_port_deallocate(mach_task_self(), name);
  return name;
}

// The same slot under another generation.
mach_port_name_t other_generation(mach_port_name_t name) {
  return name ^ 4;
}

// What a name gets, before the call looks at the port. `used`: a name in use.
void check_faults_of_names(mach_port_name_t used,
                           const std::function<kern_return_t(mach_port_name_t)>& call) {
  // Above all tables, whatever its generation.
  CHECK(call(0xfffffe03) == KERN_NO_SPACE);
  CHECK(call(0xfffffe00) == KERN_NO_SPACE);
  // Darwin's tables have 305,834 slots at most.
  CHECK(call(0x3fffff03) == KERN_NO_SPACE);
  CHECK(call(305836u << 8 | 3) == KERN_NO_SPACE);
  // No name has these generations.
  for (const mach_port_name_t bits : {0u, 1u, 2u}) {
    CAPTURE(bits);
    CHECK(call(120 | bits) == KERN_INVALID_VALUE);
    CHECK(call((used & ~3u) | bits) == KERN_INVALID_VALUE);
  }
  // Index 0, and a slot under another name.
  CHECK(call(123) == KERN_FAILURE);
  CHECK(call(other_generation(used)) == KERN_FAILURE);
  CHECK(call(MACH_PORT_NULL) == KERN_INVALID_VALUE);
  CHECK(call(MACH_PORT_DEAD) == KERN_INVALID_VALUE);
}

}  // namespace

TEST_CASE("insert_right finds the faults of the name before those of the port") {
  const mach_port_name_t port = new_port(), other = new_port();
  check_faults_of_names(other, [&](mach_port_name_t name) { return insert(name, port); });
  // The same once the port has another name: RIGHT_EXISTS comes later.
  REQUIRE(insert(port, port) == KERN_SUCCESS);
  check_faults_of_names(other, [&](mach_port_name_t name) { return insert(name, port); });
  CHECK(insert(other, port) == KERN_RIGHT_EXISTS);
  CHECK(insert(other, port, MACH_MSG_TYPE_MAKE_SEND_ONCE) == KERN_NAME_EXISTS);
  CHECK(next_id(port) == MACH_NOTIFY_SEND_ONCE);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("insert_right releases the right that a fault of the name leaves without a name") {
  const mach_port_name_t port = new_port();
  for (const mach_port_name_t name : {0xfffffe03u, 122u, 123u}) {
    CAPTURE(name);
    CHECK(insert(name, port, MACH_MSG_TYPE_MAKE_SEND_ONCE) != KERN_SUCCESS);
    CHECK(next_id(port) == MACH_NOTIFY_SEND_ONCE);
  }
  CHECK(status_of(port).mps_sorights == 0);
}

TEST_CASE("allocate_name finds the same faults, and makes nothing") {
  const mach_port_name_t used = new_port();
  for (const mach_port_right_t right : {MACH_PORT_RIGHT_RECEIVE, MACH_PORT_RIGHT_PORT_SET}) {
    CAPTURE(right);
    check_faults_of_names(used, [&](mach_port_name_t name) { return allocate(right, name); });
    CHECK(allocate(right, used) == KERN_NAME_EXISTS);
  }
  CHECK(type_of(used) == MACH_PORT_TYPE_RECEIVE);
  CHECK(allocate(MACH_PORT_RIGHT_SEND, unused_name()) == KERN_INVALID_VALUE);
  CHECK(allocate(MACH_PORT_RIGHT_NUMBER, unused_name()) == KERN_INVALID_VALUE);
}

TEST_CASE("allocate_name makes a port or a set under a free name, of any generation") {
  mach_port_name_t name = unused_name();
  REQUIRE(allocate(MACH_PORT_RIGHT_RECEIVE, name) == KERN_SUCCESS);
  CHECK(type_of(name) == MACH_PORT_TYPE_RECEIVE);
  REQUIRE(insert(name, name) == KERN_SUCCESS);
  CHECK(message(name, MACH_MSG_TYPE_COPY_SEND, 7).send() == MACH_MSG_SUCCESS);
  CHECK(next_id(name) == 7);
  REQUIRE(mach_port_destroy(mach_task_self(), name) == KERN_SUCCESS);
  const mach_port_name_t stale = name;
  name = other_generation(name);
  REQUIRE(allocate(MACH_PORT_RIGHT_PORT_SET, name) == KERN_SUCCESS);
  CHECK(type_of(name) == MACH_PORT_TYPE_PORT_SET);
  CHECK(type_of(stale) == 0);
}

TEST_CASE("allocate_name makes a dead name under a name that the kernel chooses") {
  const mach_port_name_t used = new_port();
  ipc_info_space_basic_t before{}, after{};
  REQUIRE(mach_port_space_basic_info(mach_task_self(), &before) == KERN_SUCCESS);
  CHECK(allocate(MACH_PORT_RIGHT_DEAD_NAME, used) == KERN_SUCCESS);
  REQUIRE(mach_port_space_basic_info(mach_task_self(), &after) == KERN_SUCCESS);
  CHECK(after.iisb_table_inuse == before.iisb_table_inuse + 1);
  CHECK(type_of(used) == MACH_PORT_TYPE_RECEIVE);
}

TEST_CASE("allocate_full takes or makes a name, and preallocates nothing") {
  const mach_port_name_t chosen = unused_name();
  mach_port_qos_t qos{};
  qos.name = 1;
  qos.prealloc = 1;
  qos.len = 100;
  mach_port_name_t name = chosen;
  CHECK(mach_port_allocate_full(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, MACH_PORT_NULL, &qos,
                                &name) == KERN_INVALID_VALUE);
  REQUIRE(mach_port_allocate_full(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, MACH_PORT_NULL, &qos,
                                  &name) == KERN_SUCCESS);
  CHECK(name == chosen);
  CHECK(+qos.prealloc == 0);
  CHECK(type_of(chosen) == MACH_PORT_TYPE_RECEIVE);
  qos.name = 0;
  REQUIRE(mach_port_allocate_full(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, MACH_PORT_NULL, &qos,
                                  &name) == KERN_SUCCESS);
  CHECK(name != chosen);
  CHECK(type_of(name) == MACH_PORT_TYPE_RECEIVE);
  qos.prealloc = 1;
  qos.len = 0xffffffff;
  CHECK(mach_port_allocate_full(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, MACH_PORT_NULL, &qos,
                                &name) == KERN_RESOURCE_SHORTAGE);
}

TEST_CASE("allocate_full refuses a proto, and allocate_qos a name") {
  const mach_port_name_t service = new_service();
  mach_port_qos_t qos{};
  mach_port_name_t name = MACH_PORT_NULL;
  CHECK(mach_port_allocate_full(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, service, &qos, &name) ==
        KERN_INVALID_VALUE);
  CHECK(refs_of(service, MACH_PORT_RIGHT_SEND) == 1);
  REQUIRE(mach_port_allocate_qos(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &qos, &name) ==
          KERN_SUCCESS);
  CHECK(type_of(name) == MACH_PORT_TYPE_PORT_SET);
  qos.name = 1;
  name = unused_name();
  CHECK(mach_port_allocate_qos(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &qos, &name) ==
        KERN_INVALID_ARGUMENT);
}

TEST_CASE("every name that the kernel makes could be chosen by a caller") {
  for (int each = 0; each < 300; ++each) {
    const mach_port_name_t name = new_port(MACH_PORT_RIGHT_DEAD_NAME);
    CAPTURE(each);
    CHECK((name & 3) == 3);
    CHECK(allocate(MACH_PORT_RIGHT_RECEIVE, name) == KERN_NAME_EXISTS);
    mach_port_deallocate(mach_task_self(), name);
  }
}
