// receive() on a receive right and on a port set.
#include "kedge/mach/receive.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "at_sleep.h"
#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/no_senders.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/deadlock.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/remote.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

task<std::string> receive_text(const receive_right& port) {
  received m = (co_await port.receive()).value();
  co_return std::string(m.text());
}

task<> note_error(const receive_right& port, std::error_code& error) {
  const result<received> r = co_await port.receive();
  error = r ? std::error_code() : r.error();
}

// Takes `right` at every second turn, beginning with `self`, awaits it and gives it back.
task<> receive_in_turn(receive_right& right, const send_right& to, std::atomic<int>& turn, int self,
                       int rounds) {
  for (int i = self; i < rounds; i += 2) {
    while (turn.load(std::memory_order_acquire) != i) std::this_thread::yield();
    receive_right held = std::move(right);
    // The first await finds nothing and registers; then the message arrives.
    const auto early = co_await with_timeout(0s, held.receive());
    if (early || !try_send(to, message(i))) std::abort();
    const received m = (co_await held.receive()).value();
    if (m.id() != i) std::abort();
    right = std::move(held);
    turn.store(i + 1, std::memory_order_release);
  }
}

}  // namespace

TEST_CASE("receive takes a queued message, and waits for one that is sent later") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make();
    REQUIRE(try_send(port.make_send(), message(0, "early")));
    CHECK(l.run(receive_text(port)) == "early");
    l.spawn([&]() -> task<> {
      co_await yield();
      co_await yield();
      (co_await send(port.make_send(), message(0, "late"))).value();
    });
    CHECK(l.run(receive_text(port)) == "late");
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("10,000 messages arrive in order") {
  loop l;
  const receive_right port = receive_right::make();
  constexpr std::uint32_t count = 10'000;
  l.spawn([&]() -> task<> {
    const send_right to = port.make_send();
    for (std::uint32_t i = 0; i < count; ++i) (co_await send(to, message(0, i))).value();
  });
  std::uint32_t next = 0;
  l.run([&]() -> task<> {
    while (next < count) {
      const received m = (co_await port.receive()).value();
      if (m.read<std::uint32_t>() != next) break;
      ++next;
    }
  }());
  CHECK(next == count);
}

namespace {

// Two tasks send each other a message in turn, `rounds` times.
task<> exchange(const receive_right& mine, const send_right& other, int rounds, bool begins) {
  for (int i = 0; i < rounds; ++i) {
    if (begins) (co_await send(other, message(i))).value();
    const received m = (co_await mine.receive()).value();
    if (m.id() != i) std::abort();
    if (!begins) (co_await send(other, message(i))).value();
  }
}

}  // namespace

TEST_CASE("a message to a task that waits on the same loop is not waited for in the kqueue") {
  constexpr int rounds = 200;
  for (const bool polled : {false, true}) {
    CAPTURE(polled);
    loop l;
    l.set_kernel_interval(1h);
    // The host has to find an event for each message.
    if (polled) l.native_handle();
    const receive_right a = receive_right::make(), b = receive_right::make();
    const send_right to_a = a.make_send(), to_b = b.make_send();
    const std::uint64_t before = l.counters().events;
    l.run([&]() -> task<> {
      co_await when_all(exchange(a, to_b, rounds, true), exchange(b, to_a, rounds, false));
    }());
    const std::uint64_t events = l.counters().events - before;
    polled ? CHECK(events >= rounds) : CHECK(events <= rounds / 10);
  }
}

TEST_CASE("a message from the same loop wakes a task that waits on a set") {
  loop l;
  const receive_right port = receive_right::make();
  port_set set = port_set::make();
  set.insert(port, 7);
  const send_right to = port.make_send();
  std::uint64_t tag = 0;
  l.run([&]() -> task<> {
    const auto take = [&]() -> task<> {
      for (int i = 0; i < 3; ++i) tag += (co_await set.receive()).value().tag();
    };
    const auto give = [&]() -> task<> {
      for (int i = 0; i < 3; ++i) {
        co_await yield();
        (co_await send(to, message(i))).value();
      }
    };
    co_await when_all(take(), give());
  }());
  CHECK(tag == 21);
}

TEST_CASE("receive grows its buffer for a large message, and takes small ones after it") {
  loop l;
  const receive_right port = receive_right::make();
  const std::string large(50'000, 'x');
  for (const std::string& text : {std::string("a"), large, std::string("b"), large + large}) {
    CAPTURE(text.size());
    REQUIRE(try_send(port.make_send(), message(0, text)));
    const std::string got = l.run([&]() -> task<std::string> {
      received m = (co_await port.receive().at_most(200'000)).value();
      co_return std::string(m.text());
    }());
    CHECK(got == text);
  }
}

TEST_CASE("a message that is too large is dropped and counted, and the queue behind it goes on") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(16), carried = receive_right::make();
    const send_right to = port.make_send();
    const auto of_size = [&](std::size_t size) {
      message m(1, std::vector<std::byte>(size - 24));
      return m;
    };
    // Exactly at the bound, a word beyond it, with rights in it, and as large as can be.
    REQUIRE(try_send(to, of_size(65'536)));
    REQUIRE(try_send(to, of_size(65'540)));
    REQUIRE(try_send(to, message(2, std::string(70'000, 'x'), carried.make_send())));
    REQUIRE(try_send(to, of_size(message::max_size)));
    REQUIRE(try_send(to, message(3, "behind")));
    received first, second;
    l.run([&]() -> task<> {
      first = (co_await port.receive()).value();
      CHECK(port.losses().too_large == 0);
      second = (co_await port.receive()).value();
    }());
    CHECK(first.bytes().size() == 65'536 - 24);
    CHECK(second.text() == "behind");
    CHECK(port.losses().too_large == 3);
    CHECK(port.losses().unreadable == 0);
    CHECK(send_references(carried.name()) == 0);

    SUBCASE("another bound") {
      REQUIRE(try_send(to, of_size(104)));
      REQUIRE(try_send(to, of_size(100)));
      REQUIRE(try_send(to, of_size(message::max_size)));
      l.run([&]() -> task<> {
        CHECK((co_await port.receive().at_most(100)).value().bytes().size() == 100 - 24);
        CHECK((co_await port.receive().at_most(message::max_size)).value().bytes().size() ==
              message::max_size - 24);
      }());
      CHECK(port.losses().too_large == 4);
    }
    SUBCASE("told") {
      REQUIRE(try_send(to, of_size(65'540)));
      REQUIRE(try_send(to, message(4)));
      l.run([&]() -> task<> {
        const auto lost = co_await port.receive().telling_losses();
        CHECK(lost.error() == errc::message_too_large);
        CHECK((co_await port.receive().telling_losses()).value().id() == 4);
      }());
    }
    SUBCASE("the only message: the wait goes on") {
      REQUIRE(try_send(to, of_size(65'540)));
      int id = 0;
      l.spawn([&]() -> task<> { id = (co_await port.receive()).value().id(); });
      settle(l);
      CHECK(port.losses().too_large == 4);
      REQUIRE(try_send(to, message(5)));
      settle(l);
      CHECK(id == 5);
    }
    SUBCASE("from a set, which counts for itself") {
      port_set set = port_set::make();
      const receive_right other = receive_right::make();
      set.insert(port);
      set.insert(other);
      REQUIRE(try_send(to, of_size(65'540)));
      REQUIRE(try_send(other.make_send(), message(6)));
      l.run([&]() -> task<> { CHECK((co_await set.receive()).value().id() == 6); }());
      REQUIRE(try_send(to, message(7)));
      l.run([&]() -> task<> { CHECK((co_await set.receive()).value().id() == 7); }());
      CHECK(set.losses().too_large == 1);
    }
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a message that cannot be copied out is dropped and counted, and ends no wait") {
  const kernel::task made = kernel::create_task();
  {
    const kernel::current_task_guard inside(made);
    loop l;
    const receive_right port = receive_right::make(16);
    const receive_right client = receive_right::make();
    const send_right to = port.make_send();
    const auto send_all = [&] {
      // Rights that get no name: a body error, and a header error.
      message body(1, "lost");
      for (int i = 0; i < 100; ++i) body.append(receive_right::make());
      REQUIRE(try_send(to, std::move(body)));
      message header(2);
      header.reply_to(client.make_send_once());
      REQUIRE(try_send(to, std::move(header)));
      REQUIRE(try_send(to, message(3, "behind")));
    };
    REQUIRE(try_send(to, message(0)));
    l.run([&]() -> task<> { CHECK((co_await port.receive()).value().id() == 0); }());
    send_all();
    kernel::limit_names(made, 1);
    l.run([&]() -> task<> { CHECK((co_await port.receive()).value().id() == 3); }());
    CHECK(port.losses().unreadable == 2);
    kernel::limit_names(made, 4'000'000);
    const std::uint64_t lost = port.losses().unreadable;
    send_all();
    kernel::limit_names(made, 1);
    l.run([&]() -> task<> {
      const auto told = co_await port.receive().telling_losses();
      CHECK(told.error() == errc::message_lost);
    }());
    CHECK(port.losses().unreadable == lost + 1);
    kernel::limit_names(made, 4'000'000);
  }
  kernel::terminate_task(made);
}

TEST_CASE("a port set gives messages of all its members, also of one inserted during the wait") {
  const std::size_t before = names_in_space();
  {
    loop l;
    port_set set = port_set::make();
    const receive_right a = receive_right::make(), b = receive_right::make();
    set.insert(a);
    l.spawn([&]() -> task<> {
      (co_await send(a.make_send(), message(1))).value();
      co_await yield();
      set.insert(b);
      (co_await send(b.make_send(), message(2))).value();
    });
    l.run([&]() -> task<> {
      const received first = (co_await set.receive()).value();
      CHECK(first.arrived_on(a));
      const received second = (co_await set.receive()).value();
      CHECK(second.arrived_on(b));
      CHECK(second.id() == 2);
    }());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("messages of a set have the tag of their port, in each set its own") {
  const std::size_t before = names_in_space();
  {
    loop l;
    port_set set = port_set::make(), other = port_set::make();
    receive_right a = receive_right::make(), b = receive_right::make();
    set.insert(a, 11);
    set.insert(b);
    other.insert(a, 12);
    const auto tag_from = [&](port_set& from, const receive_right& port) {
      REQUIRE(try_send(port.make_send(), message(1)));
      return l.run([](port_set& s) -> task<std::uint64_t> {
        const received m = (co_await s.receive()).value();
        co_return m.tag();
      }(from));
    };
    CHECK(tag_from(set, a) == 11);
    CHECK(tag_from(other, a) == 12);
    CHECK(tag_from(set, b) == 0);
    set.remove(a);
    set.insert(a, ~std::uint64_t{0});
    CHECK(tag_from(set, a) == ~std::uint64_t{0});
    CHECK_THROWS_AS(set.insert(a, 5), std::system_error);  // a member already: its tag stays
    CHECK(tag_from(set, a) == ~std::uint64_t{0});
    CHECK_THROWS_AS(port_set().insert(a), std::logic_error);
    CHECK_THROWS_AS(set.insert(receive_right()), std::logic_error);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the tags of members that have gone are dropped") {
  port_set set = port_set::make();
  const receive_right kept = receive_right::make();
  set.insert(kept, 1);
  for (std::uint64_t i = 2; i < 1000; ++i) {
    const receive_right passing = receive_right::make();
    set.insert(passing, i);
  }
  loop l;
  REQUIRE(try_send(kept.make_send(), message(1)));
  CHECK(l.run([](port_set& s) -> task<std::uint64_t> {
    const received m = (co_await s.receive()).value();
    co_return m.tag();
  }(set)) == 1);
}

TEST_CASE("a message of a port that has gone did not arrive on a new port of the same name" *
          doctest::skip(!kernel::has_many_tasks())) {
  // Names in order: the next name is the one that was freed last.
  const kernel::task task = kernel::create_task(16);
  {
    const kernel::current_task_guard inside(task);
    receive_right port = receive_right::make();
    REQUIRE(try_send(port.make_send(), message(1)));
    received m;
    std::size_t size = 256;
    REQUIRE(try_receive(port.name(), size, m) == MACH_MSG_SUCCESS);
    CHECK(m.arrived_on(port));
    const mach_port_name_t name = port.name();
    std::optional<receive_right> again;
    port.destroy();
    // The name has a generation, which comes round.
    for (int i = 0; i < 1000 && (!again || again->name() != name); ++i) {
      again.reset();
      again = receive_right::make();
    }
    REQUIRE(again->name() == name);
    CHECK_FALSE(m.arrived_on(*again));
  }
  kernel::terminate_task(task);
}

TEST_CASE("receive refuses a second task (already_awaited), and the first one gets the message") {
  loop l;
  const receive_right port = receive_right::make();
  std::error_code refused;
  l.spawn([&]() -> task<> {
    co_await yield();
    co_await note_error(port, refused);
    (co_await send(port.make_send(), message(0, "for the first"))).value();
  });
  CHECK(l.run(receive_text(port)) == "for the first");
  CHECK(refused == kedge::errc::already_awaited);
}

TEST_CASE("after a receive that timed out, the next receive gets the next message") {
  loop l;
  const receive_right port = receive_right::make();
  const auto r = l.run(with_timeout(1ms, port.receive()));
  REQUIRE_FALSE(r);
  CHECK(r.error() == kedge::errc::timed_out);
  REQUIRE(try_send(port.make_send(), message(0, "kept")));
  CHECK(l.run(receive_text(port)) == "kept");
}

TEST_CASE(
    "a receive that is cancelled after its event, before its turn, leaves the message queued") {
  loop l;
  const receive_right port = receive_right::make();
  l.run([&]() -> task<> {
    const receive_right trigger = receive_right::make();
    // One turn reports both events. The branch that resumes first cancels the other.
    (co_await send(trigger.make_send(), message(1))).value();
    (co_await send(port.make_send(), message(2))).value();
    auto [a, b] = co_await when_any(trigger.receive(), port.receive());
    CHECK((a || b));
    if (!b) {
      const received late = (co_await port.receive()).value();
      CHECK(late.id() == 2);
    }
    if (!a) {
      const received late = (co_await trigger.receive()).value();
      CHECK(late.id() == 1);
    }
  }());
}

TEST_CASE("receive gives errc::closed for a right that is empty, or goes during the wait") {
  loop l;
  std::error_code error;
  std::error_code expected = kedge::errc::closed;
  std::optional<receive_right> port = receive_right::make();
  const receive_right other = receive_right::make();
  const receive_right& awaited = *port;
  SUBCASE("the right is destroyed during the wait") {
    l.spawn([&]() -> task<> {
      co_await yield();
      port.reset();
    });
    l.run(note_error(awaited, error));
  }
  SUBCASE("the right is moved into a message during the wait, and works at its new owner") {
    l.spawn([&]() -> task<> {
      co_await yield();
      (co_await send(other.make_send(), message(0, std::move(*port)))).value();
    });
    l.run(note_error(awaited, error));
    received m;
    l.run([&]() -> task<> { m = (co_await other.receive()).value(); }());
    receive_right moved = m.take_receive(0);
    REQUIRE(try_send(moved.make_send(), message(0, "still")));
    CHECK(l.run(receive_text(moved)) == "still");
  }
  SUBCASE("the right is empty: it was moved from") {
    receive_right moved = std::move(*port);
    expected = errc::empty_right;
    l.run(note_error(awaited, error));
  }
  CHECK(error == expected);
}

TEST_CASE("moving a receive right during the wait does not end the wait") {
  loop l;
  receive_right port = receive_right::make();
  receive_right moved;
  l.spawn([&]() -> task<> {
    co_await yield();
    moved = std::move(port);
    (co_await send(moved.make_send(), message(0, "found"))).value();
  });
  CHECK(l.run(receive_text(port)) == "found");
}

TEST_CASE("after the waiting loop is destroyed, another loop receives from the right") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    {
      loop l;
      l.spawn(receive_text(port));
      l.poll();
    }
    REQUIRE(try_send(port.make_send(), message(0, "second loop")));
    loop l;
    CHECK(l.run(receive_text(port)) == "second loop");
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("destroying the loop destroys a task that waits in receive, without an error or a leak") {
  const receive_right port = receive_right::make();
  std::error_code error;
  {
    loop l;
    l.spawn(note_error(port, error));
    l.poll();
  }
  CHECK_FALSE(error);  // the task was destroyed while it waited
  loop l;
  REQUIRE(try_send(port.make_send(), message(0, "x")));
  CHECK(l.run(receive_text(port)) == "x");
}

TEST_CASE("receive refuses a right that another loop awaits, whose wait continues") {
  loop a, b;
  const receive_right port = receive_right::make();
  std::string got;
  a.spawn([&]() -> task<> { got = co_await receive_text(port); });
  a.poll();
  std::error_code refused;
  b.run(note_error(port, refused));
  CHECK(refused == kedge::errc::already_awaited);
  REQUIRE(try_send(port.make_send(), message(0, "a")));
  while (got.empty()) a.run_once();
  CHECK(got == "a");
}

TEST_CASE("an awaitable whose right goes before the wait begins gives errc::closed") {
  loop l;
  receive_right port = receive_right::make();
  port_set set = port_set::make();
  auto from_port = port.receive();
  auto from_set = set.receive();
  auto last_sender = no_senders(port);
  port.destroy();
  set.destroy();
  CHECK(l.run(std::move(from_port)).error() == kedge::errc::closed);
  CHECK(l.run(std::move(from_set)).error() == kedge::errc::closed);
  CHECK(l.run(std::move(last_sender)).error() == kedge::errc::closed);
}

TEST_CASE("a right that two threads pass to and fro is awaited on both their loops") {
  const std::size_t before = names_in_space();
  {
    constexpr int rounds = 500;
    receive_right right = receive_right::make();
    const send_right to = right.make_send();
    std::atomic<int> turn{0};
    const auto play = [&](int self) {
      loop l;
      l.run(receive_in_turn(right, to, turn, self, rounds));
    };
    std::thread other([&] { play(1); });
    play(0);
    other.join();
    CHECK(turn.load() == rounds);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a right that leaves and comes back under its name, in one turn, wakes its loop again") {
  loop l;
  const receive_right mail = receive_right::make();
  const send_right to_mail = mail.make_send();
  receive_right port = receive_right::make();
  const send_right to_port = port.make_send();
  int got = 0;
  l.spawn([&]() -> task<> {
    got = (co_await port.receive()).value().id();
    // Another loop moves the right away, and this one takes it back before its next turn.
    {
      loop inner;
      inner.run(
          [&]() -> task<> { (co_await send(to_mail, message(1, std::move(port)))).value(); }());
    }
    received back = (co_await mail.receive()).value();
    port = back.take_receive(0);
    got = (co_await port.receive()).value().id();
  });
  settle(l);
  REQUIRE(try_send(to_port, message(1)));
  settle(l);
  CHECK(got == 1);
  REQUIRE(try_send(to_port, message(2)));
  settle(l);
  CHECK(got == 2);
}

TEST_CASE("a right that another thread destroys ends the wait, at the loop's next turn") {
  const std::size_t before = names_in_space();
  loop l;
  std::optional<receive_right> port = receive_right::make();
  const send_right to = port->make_send();
  std::error_code error;
  l.spawn(note_error(*port, error));
  settle(l);
  std::thread([&] { port.reset(); }).join();
  CHECK_FALSE(error);
  settle(l);
  CHECK(error == kedge::errc::closed);
  CHECK(names_in_space() == before + 1);  // the dead name of `to`
}

TEST_CASE("run() reports a deadlock at a port that has neither senders nor messages") {
  loop l;
  const receive_right port = receive_right::make();
  CHECK_THROWS_AS(l.run(receive_text(port)), deadlock);
  REQUIRE(try_send(port.make_send(), message(0, "queued")));
  CHECK(l.run(receive_text(port)) == "queued");
  std::thread sender([to = port.make_send()] { CHECK(try_send(to, message(0, "sent"))); });
  CHECK(l.run(receive_text(port)) == "sent");
  sender.join();
  CHECK_THROWS_AS(l.run(receive_text(port)), deadlock);
}

namespace {

task<std::string> receive_text_of_set(const port_set& set) {
  received m = (co_await set.receive()).value();
  co_return std::string(m.text());
}

}  // namespace

TEST_CASE("run() reports a deadlock at a set whose members have neither senders nor messages") {
  loop l;
  port_set set = port_set::make();
  CHECK_THROWS_AS(l.run(receive_text_of_set(set)), deadlock);
  std::array<receive_right, 3> members;
  for (receive_right& each : members) {
    each = receive_right::make();
    set.insert(each);
  }
  CHECK_THROWS_AS(l.run(receive_text_of_set(set)), deadlock);
  REQUIRE(try_send(members[1].make_send(), message(0, "queued")));
  CHECK(l.run(receive_text_of_set(set)) == "queued");
  CHECK_THROWS_AS(l.run(receive_text_of_set(set)), deadlock);
}

TEST_CASE("run() reports a deadlock at a set whose last member that woke it is in another set") {
  loop l;
  const receive_right member = receive_right::make();
  const send_right to = member.make_send();
  port_set set = port_set::make(), other = port_set::make();
  set.insert(member);
  at_sleep watch;
  l.set_observer(&watch);
  std::thread sender([&] {
    while (!watch.is_asleep) std::this_thread::yield();
    CHECK(try_send(to, message(0, "sent")));
  });
  CHECK(l.run(receive_text_of_set(set)) == "sent");
  sender.join();
  l.set_observer(nullptr);
  set.remove(member);
  other.insert(member);
  CHECK_THROWS_AS(l.run(receive_text_of_set(set)), deadlock);
}

TEST_CASE("run() waits at a set while a member can get a message") {
  loop l;
  port_set set = port_set::make();
  std::array<receive_right, 3> members;
  for (receive_right& each : members) {
    each = receive_right::make();
    set.insert(each);
  }
  at_sleep watch;
  l.set_observer(&watch);
  // The thread acts when the loop waits already.
  const auto receives_what_is_sent_by = [&](auto act) {
    watch.is_asleep = false;
    std::thread sender([&] {
      while (!watch.is_asleep) std::this_thread::yield();
      CHECK(act());
    });
    CHECK(l.run(receive_text_of_set(set)) == "sent");
    sender.join();
  };
  const auto by_right = [&](const receive_right& member) {
    receives_what_is_sent_by([right = member.make_send()]() mutable {
      return try_send(std::exchange(right, {}), message(0, "sent"));
    });
  };
  SUBCASE("a thread has a send right, of one member and then of another") {
    by_right(members[2]);
    by_right(members[0]);
  }
  SUBCASE("a thread has a send-once right") {
    receives_what_is_sent_by([right = members[1].make_send_once()]() mutable {
      return try_send(std::move(right), message(0, "sent"));
    });
  }
  SUBCASE("a thread with a remote of the loop inserts a member") {
    const remote keeps = l.get_remote();
    const receive_right late = receive_right::make();
    receives_what_is_sent_by([&] {
      set.insert(late);
      return try_send(late.make_send(), message(0, "sent"));
    });
  }
  l.set_observer(nullptr);
  CHECK_THROWS_AS(l.run(receive_text_of_set(set)), deadlock);
}

TEST_CASE("1,000 messages from another thread wake the loop and arrive in order") {
  loop l;
  const receive_right port = receive_right::make(1024);
  constexpr int count = 1000;
  std::thread sender([to = port.make_send()] {
    for (int i = 0; i < count; ++i) {
      while (!try_send(to, message(0, i))) std::this_thread::yield();
    }
  });
  int received_count = 0;
  l.run([&]() -> task<> {
    while (received_count < count) {
      const received m = (co_await port.receive()).value();
      if (m.read<int>() != received_count) break;
      ++received_count;
    }
  }());
  sender.join();
  CHECK(received_count == count);
}

TEST_CASE("receive_operation::describe names the port") {
  loop l;
  const receive_right port = receive_right::make();
  receive_awaitable a = port.receive();
  receive_operation op = std::move(a).operator co_await();
  description line;
  op.describe(line);
  CHECK(std::string(line.text()).find("a message on port 0x") == 0);
}

TEST_CASE("receive().with_trailer() gives the rest of the trailer, from a right and from a set") {
  loop l;
  const receive_right port = receive_right::make();
  port_set set = port_set::make();
  set.insert(port, 5);
  const send_right to = port.make_send();
  l.run([&]() -> task<> {
    for (int i = 0; i < 3; ++i) REQUIRE(try_send(to, message(i)));
    const received usual = (co_await port.receive()).value();
    CHECK_FALSE(usual.filter_id());
    const received all = (co_await port.receive().with_trailer(trailer_elements::all)).value();
    CHECK(all.filter_id() == MACH_MSG_FILTER_POLICY_ALLOW);
    CHECK(all.sequence() == 1);
    const received tagged = (co_await set.receive().with_trailer(trailer_elements::all)).value();
    CHECK(tagged.filter_id());
    CHECK(tagged.tag() == 5);
  }());
}

}  // namespace kedge::mach
