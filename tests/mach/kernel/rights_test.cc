// Calls on names and rights, for each kind of name (Darwin: mach_port.c, ipc_right.c).
#include <doctest/doctest.h>

#include <set>

#include "test_message.h"

// libSystem exports it; <mach/mach_traps.h> hides it behind PRIVATE.
extern "C" mach_port_name_t mach_reply_port(void);

using namespace test;

namespace {

constexpr mach_port_name_t unknown = 0x00fff703;

// One name of each kind.
struct kinds {
  mach_port_name_t receive = new_port();
  mach_port_name_t both = new_service();
  mach_port_name_t remote = new_port();
  mach_port_name_t once = new_send_once(remote);
  mach_port_name_t dead = new_port(MACH_PORT_RIGHT_DEAD_NAME);
  mach_port_name_t set = new_port(MACH_PORT_RIGHT_PORT_SET);
};

kern_return_t mod_refs(mach_port_name_t name, mach_port_right_t right, mach_port_delta_t delta) {
  return mach_port_mod_refs(mach_task_self(), name, right, delta);
}

kern_return_t insert(mach_port_name_t name, mach_port_name_t poly, mach_msg_type_name_t type) {
  return mach_port_insert_right(mach_task_self(), name, poly, type);
}

}  // namespace

TEST_CASE("mach_port_type gives the rights of each kind of name") {
  kinds k;
  CHECK(type_of(k.receive) == MACH_PORT_TYPE_RECEIVE);
  CHECK(type_of(k.both) == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(type_of(k.once) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(type_of(k.dead) == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(type_of(k.set) == MACH_PORT_TYPE_PORT_SET);
  CHECK(type_of(MACH_PORT_DEAD) == MACH_PORT_TYPE_DEAD_NAME);
  mach_port_type_t type = 0;
  CHECK(mach_port_type(mach_task_self(), MACH_PORT_NULL, &type) == KERN_INVALID_NAME);
  CHECK(mach_port_type(mach_task_self(), unknown, &type) == KERN_INVALID_NAME);
}

TEST_CASE("allocate refuses send and send-once rights (KERN_INVALID_VALUE)") {
  mach_port_name_t name = 0;
  CHECK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_SEND, &name) == KERN_INVALID_VALUE);
  CHECK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_SEND_ONCE, &name) ==
        KERN_INVALID_VALUE);
  CHECK(mach_port_allocate(mach_task_self(), 77, &name) == KERN_INVALID_VALUE);
  CHECK(mach_reply_port() != MACH_PORT_NULL);
}

TEST_CASE("get_refs counts the references of a right, 0 if the name has no such right") {
  kinds k;
  CHECK(refs_of(k.both, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(refs_of(k.receive, MACH_PORT_RIGHT_SEND) == 0);
  CHECK(refs_of(k.receive, MACH_PORT_RIGHT_RECEIVE) == 1);
  CHECK(refs_of(k.once, MACH_PORT_RIGHT_SEND_ONCE) == 1);
  CHECK(refs_of(k.dead, MACH_PORT_RIGHT_DEAD_NAME) == 1);
  CHECK(refs_of(k.set, MACH_PORT_RIGHT_PORT_SET) == 1);
  CHECK(refs_of(MACH_PORT_NULL, MACH_PORT_RIGHT_SEND) == 1);
  mach_port_urefs_t refs = 0;
  CHECK(mach_port_get_refs(mach_task_self(), MACH_PORT_DEAD, MACH_PORT_RIGHT_RECEIVE, &refs) ==
        KERN_INVALID_NAME);
  CHECK(mach_port_get_refs(mach_task_self(), unknown, MACH_PORT_RIGHT_SEND, &refs) ==
        KERN_INVALID_NAME);
  CHECK(mach_port_get_refs(mach_task_self(), unknown, 6, &refs) == KERN_INVALID_VALUE);
}

TEST_CASE("mod_refs adds and removes references, and checks right and delta") {
  kinds k;
  SUBCASE("references to a send right rise and fall") {
    CHECK(mod_refs(k.both, MACH_PORT_RIGHT_SEND, 2) == KERN_SUCCESS);
    CHECK(refs_of(k.both, MACH_PORT_RIGHT_SEND) == 3);
    CHECK(mod_refs(k.both, MACH_PORT_RIGHT_SEND, -4) == KERN_INVALID_VALUE);
    CHECK(mod_refs(k.both, MACH_PORT_RIGHT_SEND, -3) == KERN_SUCCESS);
    CHECK(type_of(k.both) == MACH_PORT_TYPE_RECEIVE);
  }
  SUBCASE("a right that the name does not have is refused") {
    CHECK(mod_refs(k.receive, MACH_PORT_RIGHT_SEND, 1) == KERN_INVALID_RIGHT);
    CHECK(mod_refs(k.dead, MACH_PORT_RIGHT_SEND, -1) == KERN_INVALID_RIGHT);
    CHECK(mod_refs(k.once, MACH_PORT_RIGHT_RECEIVE, 0) == KERN_INVALID_RIGHT);
    CHECK(mod_refs(k.receive, MACH_PORT_RIGHT_RECEIVE, 1) == KERN_INVALID_VALUE);
    CHECK(mod_refs(k.once, MACH_PORT_RIGHT_SEND_ONCE, 1) == KERN_INVALID_VALUE);
    CHECK(mod_refs(k.set, MACH_PORT_RIGHT_PORT_SET, -2) == KERN_INVALID_VALUE);
    CHECK(mod_refs(k.set, MACH_PORT_RIGHT_LABELH, 1) == KERN_INVALID_RIGHT);
    CHECK(mod_refs(k.set, 6, 1) == KERN_INVALID_VALUE);
    CHECK(mod_refs(unknown, MACH_PORT_RIGHT_SEND, 1) == KERN_INVALID_NAME);
    CHECK(mod_refs(MACH_PORT_NULL, MACH_PORT_RIGHT_SEND, -3) == KERN_SUCCESS);
    CHECK(mod_refs(MACH_PORT_DEAD, MACH_PORT_RIGHT_RECEIVE, -1) == KERN_INVALID_NAME);
  }
  SUBCASE("a delta of 0 checks only that the right exists") {
    CHECK(mod_refs(k.receive, MACH_PORT_RIGHT_RECEIVE, 0) == KERN_SUCCESS);
    CHECK(mod_refs(k.set, MACH_PORT_RIGHT_PORT_SET, 0) == KERN_SUCCESS);
  }
}

TEST_CASE("user references stay at 65535 once they have reached it") {
  const mach_port_name_t port = new_service();
  CHECK(mod_refs(port, MACH_PORT_RIGHT_SEND, 65536) == KERN_INVALID_VALUE);
  CHECK(mod_refs(port, MACH_PORT_RIGHT_SEND, 65535) == KERN_SUCCESS);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 65535);
  CHECK(mod_refs(port, MACH_PORT_RIGHT_SEND, 1) == KERN_SUCCESS);
  CHECK(mod_refs(port, MACH_PORT_RIGHT_SEND, -5) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 65535);
  CHECK(mod_refs(port, MACH_PORT_RIGHT_SEND, -65535) == KERN_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_RECEIVE);
}

TEST_CASE("deallocate releases one reference of any right except a receive right") {
  kinds k;
  CHECK(mach_port_deallocate(mach_task_self(), k.receive) == KERN_INVALID_RIGHT);
  CHECK(mach_port_deallocate(mach_task_self(), k.both) == KERN_SUCCESS);
  CHECK(type_of(k.both) == MACH_PORT_TYPE_RECEIVE);
  CHECK(mach_port_deallocate(mach_task_self(), k.once) == KERN_SUCCESS);
  CHECK(next_id(k.remote) == MACH_NOTIFY_SEND_ONCE);
  CHECK(mach_port_deallocate(mach_task_self(), k.set) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), k.dead) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), k.dead) == KERN_INVALID_NAME);
  CHECK(mach_port_deallocate(mach_task_self(), MACH_PORT_NULL) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), MACH_PORT_DEAD) == KERN_SUCCESS);
}

TEST_CASE(
    "a dying receive right leaves its send right as a dead name, and destroy leaves no name") {
  const mach_port_name_t port = new_service();
  mod_refs(port, MACH_PORT_RIGHT_SEND, 2);
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(refs_of(port, MACH_PORT_RIGHT_DEAD_NAME) == 3);
  const mach_port_name_t other = new_service();
  CHECK(mach_port_destroy(mach_task_self(), other) == KERN_SUCCESS);
  CHECK(type_of(other) == 0);
  CHECK(mach_port_destroy(mach_task_self(), other) == KERN_INVALID_NAME);
}

TEST_CASE("destruct releases send references with a negative delta, and refuses other deltas") {
  const mach_port_name_t port = new_service();
  CHECK(mach_port_destruct(mach_task_self(), port, 1, 0) == KERN_INVALID_VALUE);
  CHECK(mach_port_destruct(mach_task_self(), port, -2, 0) == KERN_INVALID_VALUE);
  CHECK(mach_port_destruct(mach_task_self(), port, -1, 0) == KERN_SUCCESS);
  CHECK(type_of(port) == 0);
  const mach_port_name_t bare = new_port();
  CHECK(mach_port_destruct(mach_task_self(), bare, -1, 0) == KERN_INVALID_RIGHT);
  CHECK(mach_port_destruct(mach_task_self(), bare, 0, 0) == KERN_SUCCESS);
  CHECK(mach_port_destruct(mach_task_self(), bare, 0, 0) == KERN_INVALID_NAME);
  CHECK(mach_port_destruct(mach_task_self(), MACH_PORT_NULL, 0, 0) == KERN_INVALID_NAME);
  CHECK(mach_port_destruct(mach_task_self(), new_port(MACH_PORT_RIGHT_PORT_SET), 0, 0) ==
        KERN_INVALID_RIGHT);
}

TEST_CASE("construct sets the queue limit and inserts a send right, and refuses bad options") {
  mach_port_options_t options{};
  mach_port_name_t name = 0;
  options.flags = MPO_QLIMIT | MPO_INSERT_SEND_RIGHT;
  options.mpl.mpl_qlimit = 7;
  REQUIRE(mach_port_construct(mach_task_self(), &options, 0, &name) == KERN_SUCCESS);
  CHECK(type_of(name) == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(status_of(name).mps_qlimit == 7);
  CHECK(status_of(name).mps_mscount == 1);
  options.mpl.mpl_qlimit = MACH_PORT_QLIMIT_MAX + 1;
  CHECK(mach_port_construct(mach_task_self(), &options, 0, &name) == KERN_INVALID_VALUE);
  options.flags = MPO_SERVICE_PORT;
  CHECK(mach_port_construct(mach_task_self(), &options, 0, &name) == KERN_DENIED);
  options.flags = MPO_TG_BLOCK_TRACKING;
  CHECK(mach_port_construct(mach_task_self(), &options, 0, &name) == KERN_DENIED);
}

TEST_CASE("insert_right refuses names in use and rights that are missing, and consumes the right") {
  kinds k;
  const mach_port_name_t other = new_port();
  CHECK(insert(MACH_PORT_NULL, other, MACH_MSG_TYPE_MAKE_SEND) == KERN_INVALID_VALUE);
  CHECK(insert(MACH_PORT_NULL, MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND) == KERN_INVALID_NAME);
  CHECK(insert(other, unknown, MACH_MSG_TYPE_MAKE_SEND) == KERN_INVALID_NAME);
  CHECK(insert(k.both, other, MACH_MSG_TYPE_MAKE_SEND) == KERN_RIGHT_EXISTS);
  CHECK(insert(k.both, other, MACH_MSG_TYPE_MAKE_SEND_ONCE) == KERN_NAME_EXISTS);
  CHECK(next_id(other) == MACH_NOTIFY_SEND_ONCE);  // the failed call has consumed the right
  CHECK(insert(other, k.dead, MACH_MSG_TYPE_MOVE_SEND) == KERN_INVALID_CAPABILITY);
  CHECK(type_of(k.dead) == 0);
  CHECK(insert(k.both, k.both, MACH_MSG_TYPE_PORT_NONE) == KERN_INVALID_RIGHT);
  CHECK(insert(k.receive, k.receive, MACH_MSG_TYPE_MOVE_SEND) == KERN_INVALID_RIGHT);
}

TEST_CASE("insert_right puts a send-once right under a free name that the caller chose") {
  const mach_port_name_t port = new_port();
  CHECK(insert(unknown, port, MACH_MSG_TYPE_MAKE_SEND_ONCE) == KERN_SUCCESS);
  CHECK(type_of(unknown) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(mach_port_deallocate(mach_task_self(), unknown) == KERN_SUCCESS);
  CHECK(type_of(unknown) == 0);
}

TEST_CASE("extract_right gives a send right under its name, a send-once right under a new one") {
  const mach_port_name_t port = new_service();
  mach_port_name_t got = 0;
  mach_msg_type_name_t type = 0;
  CHECK(mach_port_extract_right(mach_task_self(), port, MACH_MSG_TYPE_COPY_SEND, &got, &type) ==
        KERN_SUCCESS);
  CHECK(got == port);
  CHECK(type == MACH_MSG_TYPE_MOVE_SEND);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 2);
  const mach_port_name_t once = new_send_once(port);
  CHECK(once != port);
  CHECK(new_send_once(port) != once);
  CHECK(mach_port_extract_right(mach_task_self(), port, MACH_MSG_TYPE_PORT_NONE, &got, &type) ==
        KERN_INVALID_VALUE);
  CHECK(mach_port_extract_right(mach_task_self(), once, MACH_MSG_TYPE_COPY_SEND, &got, &type) ==
        KERN_INVALID_RIGHT);
  CHECK(mach_port_extract_right(mach_task_self(), unknown, MACH_MSG_TYPE_COPY_SEND, &got, &type) ==
        KERN_INVALID_NAME);
  CHECK(mach_port_extract_right(mach_task_self(), new_port(MACH_PORT_RIGHT_DEAD_NAME),
                                MACH_MSG_TYPE_MOVE_SEND, &got, &type) == KERN_SUCCESS);
  CHECK(got == MACH_PORT_DEAD);
}

TEST_CASE("the reserved names exist, and their last reference cannot be released") {
  CHECK(type_of(mach_task_self()) == MACH_PORT_TYPE_SEND);
  CHECK(mach_port_deallocate(mach_task_self(), mach_task_self()) == KERN_INVALID_CAPABILITY);
  const mach_port_t thread = mach_thread_self();
  CHECK(refs_of(thread, MACH_PORT_RIGHT_SEND) == 2);
  CHECK(mach_port_deallocate(mach_task_self(), thread) == KERN_SUCCESS);
  const mach_port_t host = mach_host_self();
  CHECK(mach_port_deallocate(mach_task_self(), host) == KERN_SUCCESS);
  CHECK(type_of(host) == MACH_PORT_TYPE_SEND);
  CHECK(type_of(bootstrap_port) == MACH_PORT_TYPE_SEND);
}

TEST_CASE("allocate refuses a first argument that is not a task") {
  mach_port_name_t name = 0;
  CHECK(mach_port_allocate(MACH_PORT_NULL, MACH_PORT_RIGHT_RECEIVE, &name) ==
        MACH_SEND_INVALID_DEST);
  CHECK(mach_port_allocate(new_service(), MACH_PORT_RIGHT_RECEIVE, &name) == KERN_INVALID_TASK);
}

TEST_CASE("4096 names allocated and freed in turn are all different") {
  std::set<mach_port_name_t> seen;
  for (int each = 0; each < 4096; ++each) {
    const mach_port_name_t name = new_port(MACH_PORT_RIGHT_DEAD_NAME);
    CAPTURE(each);
    CHECK(seen.insert(name).second);
    mach_port_deallocate(mach_task_self(), name);
  }
}

TEST_CASE("mach_port_names lists every name with its type") {
  kinds k;
  mach_port_name_array_t names = nullptr;
  mach_port_type_array_t types = nullptr;
  mach_msg_type_number_t count = 0, type_count = 0;
  REQUIRE(mach_port_names(mach_task_self(), &names, &count, &types, &type_count) == KERN_SUCCESS);
  CHECK(count == type_count);
  int found = 0;
  for (mach_msg_type_number_t index = 0; index < count; ++index) {
    if (names[index] == k.both) found += types[index] == MACH_PORT_TYPE_SEND_RECEIVE;
    if (names[index] == k.once) found += types[index] == MACH_PORT_TYPE_SEND_ONCE;
    if (names[index] == mach_task_self()) found += types[index] == MACH_PORT_TYPE_SEND;
  }
  CHECK(found == 3);
  vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(names), count * sizeof *names);
  vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(types), count * sizeof *types);
}
