// receive_right and port_set: guards, ownership, queue limits, membership.
#include "kedge/mach/receive_right.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <ostream>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/port_set.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

std::error_code error_of(auto&& action) {
  try {
    action();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace

TEST_CASE("make gives a receive right with a strict guard, and destroys it with that guard") {
  const std::size_t before = names_in_space();
  {
    const receive_right a = receive_right::make();
    const receive_right b = receive_right::make();
    CHECK(a.name() != b.name());
    for (const receive_right* r : {&a, &b}) {
      const natural_t flags = r->status().mps_flags;
      CAPTURE(flags);
      CHECK((flags & MACH_PORT_STATUS_FLAG_GUARDED) != 0);
      CHECK((flags & MACH_PORT_STATUS_FLAG_STRICT_GUARD) != 0);
    }
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("release removes the guard, and adopt adds one and refuses a guarded right") {
  const std::size_t before = names_in_space();
  receive_right a = receive_right::make();
  const mach_port_name_t name = std::move(a).release();
  CHECK_FALSE(a);
  CHECK(a.name() == MACH_PORT_NULL);
  mach_port_status_t status{};
  mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
  CHECK(mach_port_get_attributes(mach_task_self(), name, MACH_PORT_RECEIVE_STATUS,
                                 reinterpret_cast<mach_port_info_t>(&status),
                                 &count) == KERN_SUCCESS);
  CHECK((status.mps_flags & MACH_PORT_STATUS_FLAG_GUARDED) == 0);
  {
    const receive_right b = receive_right::adopt(name);
    CHECK(b.name() == name);
    CHECK((b.status().mps_flags & MACH_PORT_STATUS_FLAG_STRICT_GUARD) != 0);
    CHECK(error_of([&] { (void)receive_right::adopt(name); }) == kern_error(KERN_INVALID_ARGUMENT));
  }
  CHECK(names_in_space() == before);
  CHECK_FALSE(receive_right::adopt(MACH_PORT_NULL));
  CHECK_FALSE(receive_right::adopt(MACH_PORT_DEAD));
}

TEST_CASE("moving a receive right leaves one owner, and assigning over one destroys its port") {
  const std::size_t before = names_in_space();
  receive_right a = receive_right::make();
  const mach_port_name_t name = a.name();
  receive_right b = std::move(a);
  CHECK_FALSE(a);
  CHECK(b.name() == name);
  b = receive_right::make();
  CHECK(type_of(name) == MACH_PORT_TYPE_NONE);
  receive_right& same = b;
  b = std::move(same);
  CHECK(b);
  b.destroy();
  b.destroy();
  CHECK(names_in_space() == before);
}

TEST_CASE("destroying a receive right turns the send rights of this space into a dead name") {
  const std::size_t before = names_in_space();
  receive_right port = receive_right::make();
  send_right a = port.make_send(), b = port.make_send();
  port.destroy();
  CHECK(dead_references(a.name()) == 1);
  a = {};
  b = {};
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "make and set_queue_limit set mps_qlimit, and refuse 0 and more than MACH_PORT_QLIMIT_MAX") {
  receive_right port = receive_right::make(16);
  CHECK(port.status().mps_qlimit == 16);
  port.set_queue_limit(2);
  CHECK(port.status().mps_qlimit == 2);
  CHECK(error_of([&] { port.set_queue_limit(MACH_PORT_QLIMIT_MAX + 1); }) ==
        kern_error(KERN_INVALID_VALUE));
  const std::size_t before = names_in_space();
  CHECK(error_of([] { (void)receive_right::make(MACH_PORT_QLIMIT_MAX + 1); }) ==
        kern_error(KERN_INVALID_VALUE));
  CHECK(error_of([] { (void)receive_right::make(0); }) == kern_error(KERN_INVALID_VALUE));
  CHECK(error_of([&] { port.set_queue_limit(0); }) == kern_error(KERN_INVALID_VALUE));
  CHECK(port.status().mps_qlimit == 2);
  CHECK(names_in_space() == before);
}

TEST_CASE("a port set loses a destroyed member, and its own destruction leaves its members alive") {
  const std::size_t before = names_in_space();
  {
    port_set set = port_set::make();
    CHECK(type_of(set.name()) == MACH_PORT_TYPE_PORT_SET);
    const receive_right a = receive_right::make();
    {
      const receive_right b = receive_right::make();
      set.insert(a);
      set.insert(b);
      CHECK(error_of([&] { set.insert(a); }) == kern_error(KERN_ALREADY_IN_SET));
      set.remove(a);
      CHECK(error_of([&] { set.remove(a); }) == kern_error(KERN_NOT_IN_SET));
      set.insert(a);
    }
    const mach_port_name_t name = std::move(set).release();
    CHECK_FALSE(set);
    set = port_set::adopt(name);
    CHECK(set.name() == name);
    port_set moved = std::move(set);
    moved.destroy();
    CHECK(type_of(a.name()) == MACH_PORT_TYPE_RECEIVE);
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
