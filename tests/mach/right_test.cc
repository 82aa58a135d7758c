// The rights that hold one user reference to a name: send_right, send_once_right, dead_name,
// reply_right.
#include <doctest/doctest.h>
#include <mach/mach.h>

#include <ostream>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/mach/dead_name.h"
#include "kedge/mach/error.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "space_names.h"

namespace kedge::mach {

static_assert(!std::is_convertible_v<mach_port_name_t, send_right>);
static_assert(!std::is_convertible_v<send_right, mach_port_name_t>);
static_assert(!std::is_convertible_v<send_right, send_once_right>);
static_assert(std::is_copy_constructible_v<send_right>);
static_assert(!std::is_copy_constructible_v<send_once_right>);
static_assert(!std::is_copy_constructible_v<dead_name>);
static_assert(!std::is_copy_constructible_v<receive_right>);
static_assert(std::is_nothrow_move_constructible_v<send_right>);

TEST_CASE("a send right holds one user reference, each copy one more, and a move none") {
  const receive_right port = receive_right::make();
  {
    send_right a = port.make_send();
    CHECK(send_references(port.name()) == 1);
    const send_right b = a;
    CHECK(send_references(port.name()) == 2);
    send_right c;
    CHECK_FALSE(c);
    c = b;
    CHECK(send_references(port.name()) == 3);
    c = std::move(a);
    CHECK_FALSE(a);
    CHECK(send_references(port.name()) == 2);
    send_right& same = c;
    c = same;
    c = std::move(same);
    CHECK(c.name() == port.name());
    CHECK(send_references(port.name()) == 2);
  }
  CHECK(send_references(port.name()) == 0);
}

TEST_CASE("release keeps the reference for the caller, and adopt takes it over") {
  const receive_right port = receive_right::make();
  send_right a = port.make_send();
  const mach_port_name_t name = std::move(a).release();
  CHECK_FALSE(a);
  CHECK(send_references(name) == 1);
  {
    const send_right b = send_right::adopt(name);
  }
  CHECK(send_references(port.name()) == 0);
  CHECK_FALSE(send_right::adopt(MACH_PORT_NULL));
  CHECK_FALSE(send_right::adopt(MACH_PORT_DEAD));
}

TEST_CASE(
    "a send right becomes a dead name when its port dies, and can still be copied and released") {
  const std::size_t before = names_in_space();
  receive_right port = receive_right::make();
  send_right a = port.make_send();
  CHECK_FALSE(a.dead());
  CHECK_FALSE(dead_name::of(std::move(a)));
  CHECK(a);
  port.destroy();
  CHECK(a.dead());
  send_right b = a;
  CHECK(dead_references(a.name()) == 2);
  {
    const dead_name d = dead_name::of(std::move(b));
    CHECK(d.name() == a.name());
    CHECK_FALSE(b);
    CHECK(dead_references(a.name()) == 2);
  }
  CHECK(dead_references(a.name()) == 1);
  a = {};
  CHECK(names_in_space() == before);
}

TEST_CASE("send_right::another throws for a name that is not a send right") {
  const receive_right port = receive_right::make();
  CHECK_THROWS_AS(send_right::another(port.name()), std::system_error);
  CHECK_FALSE(send_right::another(MACH_PORT_NULL));
}

TEST_CASE(
    "destroying a send-once right queues a notification at its port, unless the port is dead") {
  const std::size_t before = names_in_space();
  receive_right port = receive_right::make();
  {
    const send_once_right once = port.make_send_once();
    CHECK(type_of(once.name()) == MACH_PORT_TYPE_SEND_ONCE);
    CHECK(port.status().mps_sorights == 1);
    CHECK(port.status().mps_msgcount == 0);
  }
  CHECK(port.status().mps_msgcount == 1);
  send_once_right dead = port.make_send_once();
  port.destroy();
  dead = {};
  CHECK(names_in_space() == before);
}

TEST_CASE("a reply right keeps its disposition when moved, and releases either kind of right") {
  const receive_right port = receive_right::make();
  const std::size_t before = names_in_space();
  {
    reply_right once =
        reply_right::adopt(port.make_send_once().release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
    reply_right s = reply_right::adopt(port.make_send().release(), MACH_MSG_TYPE_MOVE_SEND);
    const reply_right moved = std::move(s);
    CHECK(moved.disposition() == MACH_MSG_TYPE_MOVE_SEND);
    CHECK(send_references(port.name()) == 1);
  }
  CHECK(send_references(port.name()) == 0);
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
