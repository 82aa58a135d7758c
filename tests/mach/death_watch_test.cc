// death_watch: deaths in order, removal, a name that is used again, its end and the loop's.
#include "kedge/mach/death_watch.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/died.h"
#include "kedge/mach/receive_right.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

struct collected {
  std::vector<int> tags;
  std::error_code error;
};

task<> collect(death_watch<int>& deaths, collected& into) {
  for (;;) {
    const result<int> tag = co_await deaths.next();
    if (!tag) {
      into.error = tag.error();
      co_return;
    }
    into.tags.push_back(*tag);
  }
}

}  // namespace

TEST_CASE("death_watch gives the tag of each port that dies, in the order of the deaths") {
  const std::size_t before = names_in_space();
  {
    loop l;
    death_watch<int> deaths(l);
    std::vector<receive_right> ports(5);
    std::vector<send_right> rights;
    for (int i = 0; i < 5; ++i) {
      ports[static_cast<std::size_t>(i)] = receive_right::make();
      rights.push_back(ports[static_cast<std::size_t>(i)].make_send());
      CHECK(deaths.add(rights.back(), i));
    }
    CHECK_FALSE(deaths.add(rights[0], 17));
    CHECK_FALSE(deaths.add(send_right(), 17));
    collected all;
    l.spawn(collect(deaths, all));
    settle(l);
    CHECK(all.tags.empty());
    ports[3].destroy();
    ports[1].destroy();
    settle(l);
    CHECK(all.tags == std::vector<int>{3, 1});
    rights.clear();
    ports[0].destroy();
    settle(l);
    CHECK(all.tags == std::vector<int>{3, 1, 0});
    CHECK_FALSE(all.error);
    CHECK(l.size() == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a port that is dead already is reported by the next turn") {
  loop l;
  death_watch<int> deaths(l);
  receive_right port = receive_right::make();
  const send_right right = port.make_send();
  port.destroy();
  CHECK(deaths.add(right, 1));
  CHECK(l.run(deaths.next()).value() == 1);
}

TEST_CASE(
    "a name that was removed from a death_watch is not reported, even if it has died before") {
  const std::size_t before = names_in_space();
  {
    loop l;
    death_watch<int> deaths(l);
    receive_right a = receive_right::make(), b = receive_right::make(), c = receive_right::make();
    const send_right to_a = a.make_send(), to_b = b.make_send(), to_c = c.make_send();
    CHECK(deaths.add(to_a, 1));
    CHECK(deaths.add(to_b, 2));
    CHECK(deaths.add(to_c, 3));
    CHECK(deaths.remove(to_a));
    CHECK_FALSE(deaths.remove(to_a));
    a.destroy();
    b.destroy();
    settle(l);
    CHECK(deaths.remove(to_b));
    c.destroy();
    collected all;
    l.spawn(collect(deaths, all));
    settle(l);
    CHECK(all.tags == std::vector<int>{3});
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the kernel does not use a dead name again before its tag was given") {
  const std::size_t before = names_in_space();
  {
    loop l;
    death_watch<int> deaths(l);
    {
      receive_right port = receive_right::make();
      CHECK(deaths.add(port.make_send(), 1));
    }
    settle(l);
    CHECK(names_in_space() > before);
    CHECK(l.run(deaths.next()).value() == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a cancelled next() loses no death, and a second task is refused (already_awaited)") {
  loop l;
  death_watch<std::unique_ptr<int>> deaths(l);
  receive_right port = receive_right::make();
  const send_right right = port.make_send();
  CHECK(deaths.add(right, std::make_unique<int>(5)));
  CHECK(l.run(with_timeout(1ms, deaths.next())).error() == kedge::errc::timed_out);
  int got = 0;
  l.spawn([&]() -> task<> { got = **(co_await deaths.next()); });
  settle(l);
  CHECK(l.run(deaths.next()).error() == kedge::errc::already_awaited);
  port.destroy();
  settle(l);
  CHECK(got == 5);
}

TEST_CASE("a died() and two death_watches of one name are all told") {
  loop l;
  death_watch<int> first(l), second(l);
  receive_right port = receive_right::make();
  const send_right right = port.make_send();
  CHECK(first.add(right, 1));
  CHECK(second.add(right, 2));
  bool died_too = false;
  l.spawn([&]() -> task<> {
    (co_await died(right)).value();
    died_too = true;
  });
  settle(l);
  port.destroy();
  CHECK(l.run(first.next()).value() == 1);
  CHECK(l.run(second.next()).value() == 2);
  CHECK(died_too);
}

TEST_CASE("next() gives errc::closed when the watch goes, and errc::loop_gone after the loop") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const send_right right = port.make_send();
    std::optional<loop> l(std::in_place);
    auto deaths = std::make_unique<death_watch<int>>(*l);
    CHECK(deaths->add(right, 1));
    collected all;
    SUBCASE("the watch goes during the wait") {
      l->spawn(collect(*deaths, all));
      settle(*l);
      deaths.reset();
      settle(*l);
      CHECK(all.error == kedge::errc::closed);
    }
    SUBCASE("the watch goes before the wait") {
      auto next = deaths->next();
      deaths.reset();
      CHECK(l->run(std::move(next)).error() == kedge::errc::closed);
    }
    SUBCASE("the loop goes first") {
      l->spawn(collect(*deaths, all));
      settle(*l);
      l.reset();
      CHECK(all.tags.empty());
      CHECK_THROWS_AS((void)deaths->add(right, 2), std::system_error);
      loop other;
      CHECK(other.run(deaths->next()).error() == kedge::errc::loop_gone);
    }
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
