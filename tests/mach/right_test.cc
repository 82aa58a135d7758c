// The rights that hold one user reference to a name: send_right, send_once_right, dead_name,
// reply_right.
#include <doctest/doctest.h>
#include <mach/mach.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/mach/dead_name.h"
#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/space.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"
#include "tests/runtime/in_child_process.h"

namespace kedge::mach {
namespace {

std::ptrdiff_t lines_of(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

static_assert(!std::is_convertible_v<mach_port_name_t, send_right>);
static_assert(!std::is_convertible_v<send_right, mach_port_name_t>);
static_assert(!std::is_convertible_v<send_right, send_once_right>);
static_assert(std::is_copy_constructible_v<send_right>);
static_assert(!std::is_copy_constructible_v<send_once_right>);
static_assert(!std::is_copy_constructible_v<dead_name>);
static_assert(!std::is_copy_constructible_v<receive_right>);
static_assert(std::is_nothrow_move_constructible_v<send_right>);

TEST_CASE("all send rights of a space to one port share one user reference of the kernel's") {
  const receive_right port = receive_right::make();
  {
    send_right a = port.make_send();
    CHECK(send_references(port.name()) == 1);
    const send_right b = a, again = port.make_send();
    CHECK(again.name() == port.name());
    CHECK(send_references(port.name()) == 1);
    send_right c;
    CHECK_FALSE(c);
    c = b;
    c = std::move(a);
    CHECK_FALSE(a);
    send_right& same = c;
    c = same;
    c = std::move(same);
    CHECK(c.name() == port.name());
    CHECK(send_references(port.name()) == 1);
  }
  CHECK(send_references(port.name()) == 0);
}

TEST_CASE("a reference that arrives in excess is released at once: 65,535 is no limit") {
  const receive_right port = receive_right::make();
  std::vector<send_right> held;
  for (int i = 0; i < 70'000; ++i) {
    REQUIRE(mach_port_insert_right(mach_task_self(), port.name(), port.name(),
                                   MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS);
    held.push_back(send_right::adopt(port.name()));
  }
  CHECK(send_references(port.name()) == 1);
  held.erase(held.begin() + 1, held.end());
  CHECK(send_references(port.name()) == 1);
  held.clear();
  CHECK(port.status().mps_srights == 0);
}

TEST_CASE("rights in messages that were not taken out are counted as they arrive") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(16), offered = receive_right::make();
    std::vector<received> held;
    for (int i = 0; i < 5; ++i) {
      std::vector<send_right> many(16'000, offered.make_send());
      REQUIRE(try_send(port.make_send(), message(i, std::move(many), offered.make_send())));
      std::size_t size = 1024;
      received& m = held.emplace_back();
      REQUIRE(try_receive(port.name(), size, m) == MACH_MSG_SUCCESS);
      CHECK(send_references(offered.name()) == 1);
    }
    std::vector<send_right> taken = held[0].take_send_array(0);
    CHECK(taken.size() == 16'000);
    const send_right last = held[1].take_send(1);
    held.clear();
    CHECK(send_references(offered.name()) == 1);
    taken.clear();
    CHECK(offered.status().mps_srights == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("many names are counted, each on its own, in any order of their releases") {
  const std::size_t before = names_in_space();
  {
    std::vector<receive_right> ports;
    std::vector<send_right> rights;
    for (int i = 0; i < 1000; ++i) {
      ports.push_back(receive_right::make());
      rights.push_back(ports.back().make_send());
      rights.push_back(rights.back());
    }
    for (std::size_t step : {7u, 3u}) {
      for (std::size_t i = 0; i < rights.size(); i += step) rights[i] = {};
      for (std::size_t i = 0; i < ports.size(); ++i) {
        CAPTURE(i);
        const bool held = rights[2 * i] || rights[2 * i + 1];
        REQUIRE(ports[i].status().mps_srights == (held ? 1u : 0u));
      }
    }
    rights.clear();
    for (const receive_right& port : ports) CHECK(port.status().mps_srights == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("release makes a reference for the caller if other rights share the one there is") {
  const receive_right port = receive_right::make();
  send_right a = port.make_send();
  const send_right b = a;
  const mach_port_name_t name = std::move(a).release();
  CHECK(name == port.name());
  CHECK(send_references(name) == 2);
  CHECK(mach_port_deallocate(mach_task_self(), name) == KERN_SUCCESS);
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
  CHECK(dead_references(a.name()) == 1);
  {
    const dead_name d = dead_name::of(std::move(b));
    CHECK(d.name() == a.name());
    CHECK_FALSE(b);
    CHECK(dead_references(a.name()) == 1);
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

TEST_CASE("a right that other code has released is reported in debug builds") {
  const program_end end = in_child_process([] {
    const std::size_t before = names_in_space();
    {
      const send_right unknown = send_right::adopt(0x00fff703);
      const send_once_right once = send_once_right::adopt(0x00fff803);
      const receive_right port = receive_right::make();
      const send_right stolen = port.make_send();
      if (mach_port_deallocate(mach_task_self(), stolen.name()) != KERN_SUCCESS) std::abort();
    }
    if (names_in_space() != before) std::abort();
  });
  CHECK(end.status == 0);
#ifdef NDEBUG
  CHECK(end.standard_error.empty());
#else
  CHECK(end.says("releasing a send right, 0xfff703: "));
  CHECK(end.says("releasing a send-once right, 0xfff803: "));
  CHECK(lines_of(end.standard_error) == 3);
#endif
}

TEST_CASE("a right of another space releases nothing here, and is reported in debug builds") {
  const program_end end = in_child_process([] {
    space other;
    std::optional<send_right> foreign;
    std::optional<send_once_right> foreign_once;
    std::optional<receive_right> foreign_port;
    {
      const scoped_space inside(other);
      foreign_port = receive_right::make();
      foreign = foreign_port->make_send();
      foreign_once = foreign_port->make_send_once();
    }
    const std::size_t before = names_in_space();
    foreign.reset();
    foreign_once.reset();
    foreign_port.reset();
    if (names_in_space() != before) std::abort();
  });
  CHECK(end.status == 0);
#ifndef NDEBUG
  CHECK(lines_of(end.standard_error) == 3);
  CHECK(end.says("a receive right, 0x"));
#endif
}

TEST_CASE("a receive right refuses to be used in another space than its own") {
  space other;
  const scoped_space inside(other);
  const receive_right port = receive_right::make();
  space third;
  const scoped_space outside(third);
  CHECK_THROWS_AS(static_cast<void>(port.make_send()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(port.make_send_once()), std::logic_error);
  CHECK_THROWS_AS(static_cast<void>(port.status()), std::logic_error);
}

TEST_CASE("an empty receive right says so") {
  receive_right none;
  CHECK_THROWS_WITH(static_cast<void>(none.make_send()),
                    "kedge::mach::receive_right::make_send: the right is empty");
}

TEST_CASE("in a forked child the parent's objects release nothing of the child's") {
  std::vector<receive_right> ports;
  std::vector<send_right> sends;
  std::vector<send_once_right> onces;
  for (int i = 0; i < 100; ++i) {
    ports.push_back(receive_right::make());
    sends.push_back(ports.back().make_send());
    onces.push_back(ports.back().make_send_once());
  }
  received m;
  {
    message with_rights(1, sends[0], ports[0].make_send_once());
    with_rights.reply_to(sends[1]);
    REQUIRE(try_send(sends[2], std::move(with_rights)));
    std::size_t size = 256;
    REQUIRE(try_receive(ports[2].name(), size, m) == MACH_MSG_SUCCESS);
  }
  message unsent(1, sends[0], ports[0].make_send_once());
  const program_end end = in_child_process([&] {
    std::vector<receive_right> own;
    std::vector<send_right> own_sends;
    for (int i = 0; i < 400; ++i) {
      own.push_back(receive_right::make());
      own_sends.push_back(own.back().make_send());
    }
    const std::size_t before = names_in_space();
    try {
      static_cast<void>(ports[0].make_send());
      std::abort();
    } catch (const std::logic_error&) {
    }
    try {
      loop l;
      l.run([](const receive_right& port) -> task<> {
        static_cast<void>(co_await port.receive());
      }(ports[1]));
      std::abort();
    } catch (const std::logic_error&) {
    }
    if (m.take_send(0) || m.take_send_once(1) || m.take_reply()) std::abort();
    m.clear();
    unsent.clear();
    if (std::move(onces.back()).release() != MACH_PORT_NULL) std::abort();
    ports.clear();
    sends.clear();
    onces.clear();
    if (names_in_space() != before) std::abort();
    for (const receive_right& port : own) {
      if (port.status().mps_srights != 1) std::abort();
    }
  });
  CHECK(end.status == 0);
  CHECK(end.standard_error == "");
  CHECK(ports[99].status().mps_srights == 1);
  CHECK(ports[99].status().mps_sorights == 1);
  CHECK(m.take_send(0).name() == sends[0].name());
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
