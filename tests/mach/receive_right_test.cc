// receive_right and port_set: guards, ownership, queue limits, membership.
#include "kedge/mach/receive_right.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "error_of.h"
#include "kedge/mach/error.h"
#include "kedge/mach/immovable.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/message.h"
#include "kedge/mach/port_destroyed.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/send.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
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

TEST_CASE("status names what the kernel knows of a port") {
  receive_right port = receive_right::make(3);
  port_set set = port_set::make();
  const auto status = [&] { return port.status(); };
  CHECK(status().is_guarded());
  CHECK(status().is_strictly_guarded());
  CHECK_FALSE(status().is_immovable());
  CHECK(status().queue_limit() == 3);
  CHECK_FALSE(status().has_senders());
  {
    const send_right to = port.make_send();
    CHECK(status().has_senders());
    CHECK(status().made_send_rights() == 1);
    REQUIRE(try_send(to, message(1)));
    REQUIRE(try_send(to, message(2)));
  }
  CHECK(status().has_senders());  // a queued message is one
  CHECK(status().messages() == 2);
  CHECK(status().sequence() == 0);
  take(port).clear();
  CHECK(status().messages() == 1);
  CHECK(status().sequence() == 1);
  take(port).clear();
  CHECK_FALSE(status().has_senders());
  {
    const send_once_right once = port.make_send_once();
    CHECK(status().send_once_rights() == 1);
  }
  CHECK(status().messages() == 1);  // the notification of its end
  take(port).clear();
  CHECK(status().send_once_rights() == 0);
  CHECK_FALSE(status().is_in_set());
  set.insert(port);
  CHECK(status().is_in_set());
  CHECK_FALSE(status().has_port_destroyed_request());
  const port_destroyed back(port);
  CHECK(status().has_port_destroyed_request());
  CHECK_FALSE(status().has_no_senders_request());
  mach_port_t previous = MACH_PORT_NULL;
  const receive_right notified = receive_right::make();
  REQUIRE(mach_port_request_notification(mach_task_self(), port.name(), MACH_NOTIFY_NO_SENDERS, 9,
                                         notified.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                         &previous) == KERN_SUCCESS);
  CHECK(status().has_no_senders_request());
}

TEST_CASE("a right that was sent as immovable is guarded, and says that it cannot be moved") {
  const receive_right port = receive_right::make();
  REQUIRE(try_send(port.make_send(), message(1, immovable(receive_right::make()))));
  const receive_right arrived = take(port).take_receive(0);
  CHECK(arrived.status().is_guarded());
  CHECK(arrived.status().is_immovable());
}

TEST_CASE("importance and the temporary owner are set for good") {
  receive_right port = receive_right::make(), other = receive_right::make();
  CHECK_FALSE(port.status().accepts_importance());
  port.accept_importance();
  CHECK(port.status().accepts_importance());
  CHECK_FALSE(port.status().is_temporarily_owned());
  other.set_temporary_owner();
  CHECK(other.status().accepts_importance());
  CHECK(other.status().is_temporarily_owned());
  receive_right none;
  CHECK_THROWS_AS(none.accept_importance(), std::logic_error);
  CHECK_THROWS_AS(none.set_temporary_owner(), std::logic_error);
}

TEST_CASE("reserve_request_slots makes at least as many slots, as in macOS 11") {
  receive_right port = receive_right::make();
  CHECK(port.request_slots() == 0);
  if (kernel::has_many_tasks()) kernel::set_kernel_profile(kernel::kernel_profile::macos11);
  port.reserve_request_slots(100);
  const std::uint32_t slots = port.request_slots();
  if (kernel::has_many_tasks()) kernel::set_kernel_profile(kernel::kernel_profile::macos15);
  CHECK(slots >= 100);
  const receive_right none;
  CHECK_THROWS_AS((void)none.request_slots(), std::logic_error);
}

TEST_CASE("extract takes a receive right with its queue, and leaves its send rights") {
  const std::size_t before = names_in_space();
  {
    receive_right port = receive_right::make();
    const send_right to = port.make_send();
    REQUIRE(try_send(to, message(7)));
    // Of the own space here: the counterpart of mach_port_insert_right.
    receive_right taken = receive_right::extract(mach_task_self(), std::move(port).release());
    CHECK(taken.status().is_strictly_guarded());
    CHECK(take(taken).id() == 7);
    REQUIRE(try_send(to, message(8)));
    CHECK(take(taken).id() == 8);
  }
  CHECK(names_in_space() == before);
  CHECK(error_of([] { (void)receive_right::extract(mach_task_self(), 0x12345); }) ==
        kern_error(KERN_INVALID_NAME));
  const receive_right port = receive_right::make();
  const send_once_right once = port.make_send_once();
  CHECK(error_of([&] { (void)receive_right::extract(mach_task_self(), once.name()); }) ==
        kern_error(KERN_INVALID_RIGHT));
  CHECK(error_of([&] { (void)receive_right::extract(MACH_PORT_NULL, port.name()); }) !=
        std::error_code());
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
