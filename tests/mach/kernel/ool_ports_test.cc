// Out-of-line arrays of ports (Darwin: ipc_kmsg_copyin_ool_ports_descriptor). The classes are those
// of failed sends in mach/kernel/README.md.
#include <doctest/doctest.h>

#include <vector>

#include "test_message.h"

using namespace test;

namespace {

constexpr mach_port_name_t unknown = 0x00fff703;

// The result of a send of an array, and the array received.
struct array {
  mach_msg_return_t result;
  message got;
  mach_msg_ool_ports_descriptor_t descriptor{};

  const mach_msg_ool_ports_descriptor_t& about() const { return descriptor; }
  mach_port_name_t operator[](std::size_t index) const {
    return static_cast<const mach_port_name_t*>(descriptor.address)[index];
  }
};

// Sends an array to a port of its own and receives it.
array pass(const std::vector<mach_port_name_t>& names, mach_msg_type_name_t disposition) {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  m.with(ports_descriptor(names.data(), static_cast<mach_msg_size_t>(names.size()), disposition));
  array made{m.send(), {}, {}};
  if (made.result == MACH_MSG_SUCCESS) {
    REQUIRE(made.got.receive(port) == MACH_MSG_SUCCESS);
    made.descriptor = made.got.at<mach_msg_ool_ports_descriptor_t>();
  }
  CHECK(end_receive(port) == KERN_SUCCESS);
  return made;
}

}  // namespace

TEST_CASE("an array of rights arrives in memory with the deallocate flag") {
  const mach_port_name_t one = new_port(), two = new_port();
  array a = pass({one, two, one}, MACH_MSG_TYPE_MAKE_SEND);
  REQUIRE(a.result == MACH_MSG_SUCCESS);
  CHECK(a.about().type == MACH_MSG_OOL_PORTS_DESCRIPTOR);
  CHECK(a.about().count == 3);
  CHECK(a.about().deallocate);
  CHECK(a.about().disposition == MACH_MSG_TYPE_MOVE_SEND);
  CHECK(a[0] == one);
  CHECK(a[1] == two);
  CHECK(a[2] == one);
  CHECK(refs_of(one, MACH_PORT_RIGHT_SEND) == 2);
  CHECK(refs_of(two, MACH_PORT_RIGHT_SEND) == 1);
  mach_msg_destroy(&a.got.header());
  CHECK(type_of(one) == MACH_PORT_TYPE_RECEIVE);
  CHECK(type_of(two) == MACH_PORT_TYPE_RECEIVE);
}

TEST_CASE("an array arrives as the rights that its disposition makes or moves") {
  const mach_port_name_t port = new_service();
  SUBCASE("copy_send") {
    array a = pass({port}, MACH_MSG_TYPE_COPY_SEND);
    CHECK(a.about().disposition == MACH_MSG_TYPE_MOVE_SEND);
    CHECK(a[0] == port);
    CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 2);
    mach_msg_destroy(&a.got.header());
  }
  SUBCASE("move_send") {
    array a = pass({port}, MACH_MSG_TYPE_MOVE_SEND);
    CHECK(a[0] == port);
    CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
    mach_msg_destroy(&a.got.header());
    CHECK(type_of(port) == MACH_PORT_TYPE_RECEIVE);
  }
  SUBCASE("make_send_once") {
    array a = pass({port, port}, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    CHECK(a.about().disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE);
    CHECK(a[0] != a[1]);
    CHECK(type_of(a[0]) == MACH_PORT_TYPE_SEND_ONCE);
    mach_msg_destroy(&a.got.header());
    CHECK(next_id(port) == MACH_NOTIFY_SEND_ONCE);
    CHECK(next_id(port) == MACH_NOTIFY_SEND_ONCE);
  }
  SUBCASE("move_send_once") {
    array a = pass({new_send_once(port)}, MACH_MSG_TYPE_MOVE_SEND_ONCE);
    CHECK(type_of(a[0]) == MACH_PORT_TYPE_SEND_ONCE);
    mach_msg_destroy(&a.got.header());
  }
  SUBCASE("move_receive") {
    const mach_port_name_t moving = new_port();
    array a = pass({moving}, MACH_MSG_TYPE_MOVE_RECEIVE);
    CHECK(a.about().disposition == MACH_MSG_TYPE_MOVE_RECEIVE);
    const mach_port_name_t arrived = a[0];
    CHECK(type_of(arrived) == MACH_PORT_TYPE_RECEIVE);
    mach_msg_destroy(&a.got.header());
    CHECK(type_of(arrived) == 0);
  }
}

TEST_CASE("MACH_PORT_NULL and MACH_PORT_DEAD in an array arrive unchanged, with any disposition") {
  const mach_port_name_t dead = new_port(MACH_PORT_RIGHT_DEAD_NAME);
  array a = pass({MACH_PORT_NULL, dead, MACH_PORT_DEAD}, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(a.result == MACH_MSG_SUCCESS);
  CHECK(a[0] == MACH_PORT_NULL);
  CHECK(a[1] == MACH_PORT_DEAD);  // a dead name arrives as MACH_PORT_DEAD
  CHECK(a[2] == MACH_PORT_DEAD);
  mach_msg_destroy(&a.got.header());
  a = pass({MACH_PORT_NULL}, 99);
  REQUIRE(a.result == MACH_MSG_SUCCESS);
  CHECK(a.about().disposition == MACH_MSG_TYPE_PORT_NONE);
  mach_msg_destroy(&a.got.header());
  CHECK(mach_port_deallocate(mach_task_self(), dead) == KERN_SUCCESS);
}

TEST_CASE("an empty array arrives without an address, with any disposition") {
  const array a = pass({}, 99);
  REQUIRE(a.result == MACH_MSG_SUCCESS);
  CHECK(a.about().count == 0);
  CHECK(a.about().address == nullptr);
  CHECK(a.about().deallocate);
}

TEST_CASE("the copy option of an array is ignored") {
  const mach_port_name_t port = new_service();
  const mach_port_name_t names[] = {port};
  auto descriptor = ports_descriptor(names, 1, MACH_MSG_TYPE_COPY_SEND);
  descriptor.copy = 7;
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(m.with(descriptor).send() == MACH_MSG_SUCCESS);
}

TEST_CASE("deallocate removes the sender's pages of the array") {
  const mach_port_name_t port = new_service();
  vm_address_t memory = 0;
  REQUIRE(vm_allocate(mach_task_self(), &memory, 8, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  auto* const names = reinterpret_cast<mach_port_name_t*>(memory);
  names[0] = names[1] = port;
  auto descriptor = ports_descriptor(names, 2, MACH_MSG_TYPE_COPY_SEND);
  descriptor.deallocate = 1;
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.with(descriptor).send() == MACH_MSG_SUCCESS);
  message again(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(again.with(descriptor).send() == MACH_SEND_INVALID_MEMORY);
}

TEST_CASE("class 2: an unreadable array consumes the header's right") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  m.with(ports_descriptor(reinterpret_cast<mach_port_name_t*>(0x10), 1, MACH_MSG_TYPE_COPY_SEND));
  CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
  CHECK(type_of(port) == MACH_PORT_TYPE_RECEIVE);
}

TEST_CASE("class 2: a bad right in an array destroys the rights before it and the header's") {
  const mach_port_name_t port = new_service(), earlier = new_service(), first = new_service(),
                         last = new_service();
  for (const mach_port_name_t bad : {unknown, new_port(MACH_PORT_RIGHT_PORT_SET)}) {
    CAPTURE(bad);
    mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND);
    mach_port_insert_right(mach_task_self(), earlier, earlier, MACH_MSG_TYPE_MAKE_SEND);
    mach_port_insert_right(mach_task_self(), first, first, MACH_MSG_TYPE_MAKE_SEND);
    const mach_port_name_t names[] = {first, bad, last};
    message m(port, MACH_MSG_TYPE_MOVE_SEND);
    m.with(port_descriptor(earlier, MACH_MSG_TYPE_MOVE_SEND))
        .with(ports_descriptor(names, 3, MACH_MSG_TYPE_MOVE_SEND));
    CHECK(m.send() == MACH_SEND_INVALID_RIGHT);
    CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
    CHECK(refs_of(earlier, MACH_PORT_RIGHT_SEND) == 1);
    CHECK(refs_of(first, MACH_PORT_RIGHT_SEND) == 1);
    CHECK(refs_of(last, MACH_PORT_RIGHT_SEND) == 1);
  }
}

TEST_CASE("class 3: a full queue gives the rights of an array back, in new memory") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  REQUIRE(set_limit(port, 0) == KERN_SUCCESS);
  const mach_port_name_t names[] = {cargo, MACH_PORT_NULL};
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(ports_descriptor(names, 2, MACH_MSG_TYPE_MAKE_SEND));
  REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
  const auto back = m.at<mach_msg_ool_ports_descriptor_t>();
  CHECK(back.disposition == MACH_MSG_TYPE_MOVE_SEND);
  CHECK(back.address != names);
  CHECK(static_cast<mach_port_name_t*>(back.address)[0] == cargo);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 2);
  mach_msg_destroy(&m.header());
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("class 4: a receive right sent to its own port in an array dies") {
  const mach_port_name_t port = new_service();
  const mach_port_name_t names[] = {port};
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(m.with(ports_descriptor(names, 1, MACH_MSG_TYPE_MOVE_RECEIVE)).send() == MACH_MSG_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_DEAD_NAME);
}

TEST_CASE("destroying a queued message releases the rights of its array") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  const std::vector<mach_port_name_t> names(100, cargo);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.with(ports_descriptor(names.data(), 100, MACH_MSG_TYPE_COPY_SEND)).send() ==
          MACH_MSG_SUCCESS);
  CHECK(status_of(cargo).mps_srights == 1);  // Darwin reports only whether any exist
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(mach_port_deallocate(mach_task_self(), cargo) == KERN_SUCCESS);
  CHECK(status_of(cargo).mps_srights == 0);
}

TEST_CASE("a message carries 16383 ports, and one more is refused (class 1)") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  std::vector<mach_port_name_t> names(16383, cargo);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.with(ports_descriptor(names.data(), 16383, MACH_MSG_TYPE_COPY_SEND)).send() ==
          MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 16384);
  mach_msg_destroy(&got.header());
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);

  message more(port, MACH_MSG_TYPE_MOVE_SEND);
  more.with(ports_descriptor(names.data(), 16383, MACH_MSG_TYPE_COPY_SEND))
      .with(port_descriptor(cargo, MACH_MSG_TYPE_COPY_SEND));
  CHECK(more.send() == MACH_SEND_TOO_LARGE);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("an array of 2^32 - 1 ports is refused (class 1)") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  const auto all = ports_descriptor(nullptr, ~0u, MACH_MSG_TYPE_COPY_SEND);
  CHECK(m.with(all).with(all).send() == MACH_SEND_TOO_LARGE);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
}
