// any_right: rights of every kind, taken out of messages and passed on.
#include "kedge/mach/any_right.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstddef>
#include <ostream>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/port_destroyed.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

using kind = any_right::kind;

static_assert(!std::is_copy_constructible_v<any_right>);
static_assert(std::is_nothrow_move_constructible_v<any_right>);

// A right whose port has died.
send_right dead_right() {
  return receive_right::make().make_send();
}

int as_int(kind k) {
  return static_cast<int>(k);
}

}  // namespace

TEST_CASE("an any_right says its kind, and gives the right up to the accessor of that kind alone") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    std::vector<any_right> all;
    all.emplace_back();
    all.emplace_back(port.make_send());
    all.emplace_back(port.make_send_once());
    all.emplace_back(receive_right::make());
    all.emplace_back(dead_name::of(dead_right()));
    for (int made = 0; made < 5; ++made) {
      for (int asked = 1; asked < 5; ++asked) {
        if (asked == made) continue;
        CAPTURE(made);
        CAPTURE(asked);
        any_right& right = all[static_cast<std::size_t>(made)];
        CHECK(as_int(right.what()) == made);
        const bool gave = asked == 1   ? static_cast<bool>(std::move(right).take_send())
                          : asked == 2 ? static_cast<bool>(std::move(right).take_send_once())
                          : asked == 3 ? static_cast<bool>(std::move(right).take_receive())
                                       : static_cast<bool>(std::move(right).take_dead());
        CHECK_FALSE(gave);
        CHECK(as_int(right.what()) == made);
      }
    }
    CHECK_FALSE(all[0]);
    CHECK(all[1].name() == port.name());
    CHECK(all[1].space() == port.space());
    CHECK(std::move(all[1]).take_send());
    CHECK(std::move(all[2]).take_send_once());
    CHECK(std::move(all[3]).take_receive());
    CHECK(std::move(all[4]).take_dead());
    for (const any_right& right : all) CHECK_FALSE(right);
    CHECK(port.status().mps_srights == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a moved any_right is none, and empty rights make none") {
  any_right a(receive_right::make());
  any_right b = std::move(a);
  CHECK_FALSE(a);
  a = std::move(b);
  CHECK_FALSE(b);
  CHECK(as_int(a.what()) == as_int(kind::receive));
  any_right& same = a;
  a = std::move(same);
  CHECK(a);
  a = {};
  CHECK_FALSE(a);
  CHECK_FALSE(any_right(send_right()));
  CHECK_FALSE(any_right(send_once_right()));
  CHECK_FALSE(any_right(receive_right()));
  CHECK(any_right(dead_name()));
}

TEST_CASE("rights of every kind are passed on without a look at their kind, and nothing is lost") {
  const std::size_t before = names_in_space();
  {
    const receive_right first = receive_right::make(), second = receive_right::make(),
                        carried = receive_right::make();
    message m(1, carried.make_send(), carried.make_send_once(), receive_right::make());
    m.append(any_right());
    send_right late = dead_right();
    m.append(std::move(late));
    m.append(immovable(receive_right::make()));
    REQUIRE(try_send(first.make_send(), std::move(m)));
    received arrived = take(first);
    message passed(2);
    for (std::size_t i = 0; i < 5; ++i) {
      any_right right = arrived.take_any(i);
      CAPTURE(i);
      constexpr kind expected[] = {kind::send, kind::send_once, kind::receive, kind::none,
                                   kind::dead};
      CHECK(as_int(right.what()) == as_int(expected[i]));
      CHECK_FALSE(arrived.take_any(i));  // once
      passed.append(std::move(right));
      CHECK_FALSE(right);
    }
    CHECK(arrived.take_any(5).what() == kind::receive);  // which cannot be passed on
    CHECK_FALSE(arrived.take_any(6));
    REQUIRE(try_send(second.make_send(), std::move(passed)));
    received last = take(second);
    CHECK(last.take_any(0).name() == carried.name());
    CHECK(std::move(last.descriptors()[1].take_any()).take_send_once());
    CHECK(last.take_receive(2));
    CHECK_FALSE(last.take_any(3));
    CHECK(last.take_any(4).what() == kind::dead);
    CHECK(carried.status().mps_srights == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("take_any gives none for memory, arrays and messages without descriptors") {
  const receive_right carried = receive_right::make();
  message m(1, memory_region::make(10), std::vector<send_right>(2, carried.make_send()));
  CHECK_FALSE(m.take_any(0));
  CHECK_FALSE(m.take_any(1));
  CHECK(m.take_memory(0));
  CHECK(m.take_send_array(1).size() == 2);
  CHECK_FALSE(received().take_any(0));
}

TEST_CASE("take_any refuses a receive right that its sender can take back, and leaves it there") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    receive_right offered = receive_right::make();
    const port_destroyed back(offered);
    REQUIRE(try_send(port.make_send(), message(1, std::move(offered))));
    received m = take(port);
    try {
      (void)m.take_any(0);
      FAIL("a revocable right was taken");
    } catch (const std::system_error& e) {
      CHECK(e.code() == errc::revocable);
    }
    CHECK(m.take_revocable(0));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a right of another space is not appended, and stays where it is" *
          doctest::skip(!kernel::has_many_tasks())) {
  any_right right(receive_right::make());
  space other;
  {
    const scoped_space inside(other);
    message m(1);
    CHECK_THROWS_AS(m.append(std::move(right)), std::logic_error);
    CHECK(m.rights() == 0);
  }
  CHECK(as_int(right.what()) == as_int(kind::receive));
}

}  // namespace kedge::mach
