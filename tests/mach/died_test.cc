// died(): deaths before and during the wait, several waiters, loops and threads, cancellation,
// forged and displaced notifications, a fork.
#include "kedge/mach/died.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "kedge/mach/dead_name.h"
#include "kedge/mach/death_watch.h"
#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

task<> count_death(const send_right& right, int& deaths) {
  (co_await died(right)).value();
  ++deaths;
}

// Takes the loop's request for a name out of the kernel, as any code in the space can. Returns the
// send-once right to the loop's notification port.
send_once_right steal_request(const send_right& watched) {
  mach_port_t previous = MACH_PORT_NULL;
  REQUIRE(mach_port_request_notification(mach_task_self(), watched.name(),
                                         MACH_NOTIFY_SEND_POSSIBLE, 0, MACH_PORT_NULL,
                                         MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous) == KERN_SUCCESS);
  return send_once_right::adopt(previous);
}

// Another library of the process, which requests notifications of the same names.
class other_library {
 public:
  // Requests the notification of the death of `watched`. Returns the right that it has displaced.
  send_once_right watch(const send_right& watched) {
    mach_port_t previous = MACH_PORT_NULL;
    REQUIRE(mach_port_request_notification(mach_task_self(), watched.name(), MACH_NOTIFY_DEAD_NAME,
                                           0, port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                           &previous) == KERN_SUCCESS);
    return send_once_right::adopt(previous);
  }
  // Returns the id of the next notification, or 0.
  mach_msg_id_t next() {
    received m;
    std::size_t size = 256;
    if (try_receive(port_.name(), size, m) != MACH_MSG_SUCCESS) return 0;
    if (m.id() == MACH_NOTIFY_DEAD_NAME) {
      static_cast<void>(
          dead_name::adopt(m.read<mach_port_name_t>(sizeof(NDR_record_t)).value_or(0)));
    }
    return m.id();
  }

 private:
  const receive_right port_ = receive_right::make();
};

}  // namespace

TEST_CASE(
    "died completes when the port dies, at once if it is dead, and at once for an empty right") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const send_right right = port.make_send();
    l.spawn([&]() -> task<> {
      co_await yield();
      port.destroy();
    });
    CHECK(l.run(died(right)));
    CHECK(dead_references(right.name()) == 1);
    CHECK(l.run(died(right)));
    CHECK(dead_references(right.name()) == 1);
    CHECK(l.run(died(send_right())));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("died keeps its right, and says when that belongs to another space" *
          doctest::skip(!kernel::has_many_tasks())) {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    auto wait = died(port.make_send());
    CHECK(port.status().mps_srights == 1);
    port.destroy();
    CHECK(l.run(std::move(wait)));
    space other;
    std::optional<send_right> foreign;
    {
      const scoped_space inside(other);
      foreign = receive_right::make().make_send();
    }
    CHECK(l.run(died(*foreign)).error() == errc::wrong_space);
    death_watch<int> watch(l);
    CHECK_THROWS_AS(static_cast<void>(watch.add(*foreign, 1)), std::system_error);
    const scoped_space inside(other);
    foreign.reset();
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the waits of a space whose task has ended are over (closed), and nothing spins" *
          doctest::skip(!kernel::has_many_tasks())) {
  std::optional<loop> l;
  std::optional<receive_right> port;
  std::optional<send_right> right;
  std::error_code error;
  {
    space ending;
    {
      const scoped_space inside(ending);
      l.emplace();
      port = receive_right::make();
      right = port->make_send();
    }
    l->spawn([&]() -> task<> {
      const result<void> r = co_await died(*right);
      error = r ? std::error_code() : r.error();
    });
    settle(*l);
    const kernel::task task = [&] {
      const scoped_space inside(ending);
      return kernel::task_of_thread();
    }();
    kernel::terminate_task(task);
    settle(*l);
    CHECK(error == kedge::errc::closed);
    CHECK_FALSE(l->poll());
    l.reset();
    const scoped_space inside(ending);
    right.reset();
    port.reset();
  }
}

TEST_CASE("a death ends every wait for it, and a cancelled wait leaves the others waiting") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const send_right right = port.make_send();
    int deaths = 0;
    for (int i = 0; i < 3; ++i) l.spawn(count_death(right, deaths));
    settle(l);
    CHECK(l.run(with_timeout(1ms, died(right))).error() == kedge::errc::timed_out);
    CHECK(deaths == 0);
    CHECK(send_references(right.name()) == 1);
    port.destroy();
    settle(l);
    CHECK(deaths == 3);
    CHECK(dead_references(right.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a cancelled died() withdraws its request and leaks no reference") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    std::optional<send_right> right = port.make_send();
    SUBCASE("cancelled while the port lives: the kernel holds no request any more") {
      CHECK(l.run(with_timeout(1ms, died(*right))).error() == kedge::errc::timed_out);
      settle(l);
      CHECK(send_references(port.name()) == 1);
      CHECK_FALSE(steal_request(*right));
    }
    SUBCASE("cancelled ten times: the next wait still sees the death") {
      for (int i = 0; i < 10; ++i) {
        (void)l.run(with_timeout(clock::duration::zero(), died(*right)));
      }
      int deaths = 0;
      l.spawn(count_death(*right, deaths));
      settle(l);
      port.destroy();
      settle(l);
      CHECK(deaths == 1);
    }
    SUBCASE(
        "cancelled when the kernel has queued the notification and the loop has not received it") {
      bool timed_out = false;
      l.spawn([&]() -> task<> {
        auto [death, other] = co_await when_any(died(*right), yield());
        timed_out = !death;
        port.destroy();
        (void)other;
      });
      settle(l);
      CHECK(timed_out);
      CHECK(dead_references(right->name()) == 1);
    }
    SUBCASE("the awaited right is destroyed first: the wait still sees the death") {
      int deaths = 0;
      l.spawn(count_death(*right, deaths));
      settle(l);
      right.reset();
      CHECK(send_references(port.name()) == 1);
      port.destroy();
      settle(l);
      CHECK(deaths == 1);
    }
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("destroying the loop ends a waiting died() and releases its reference") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const send_right right = port.make_send();
    int deaths = 0;
    {
      loop l;
      l.spawn(count_death(right, deaths));
      l.spawn(count_death(right, deaths));
      settle(l);
    }
    CHECK(deaths == 0);
    CHECK(send_references(port.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a dead-name notification that a task forges ends no wait") {
  loop l;
  receive_right port = receive_right::make();
  const send_right right = port.make_send();
  int deaths = 0;
  l.spawn(count_death(right, deaths));
  settle(l);
  send_once_right to_the_loop = steal_request(right);
  REQUIRE(to_the_loop);
  struct {
    NDR_record_t ndr;
    mach_port_name_t name;
  } const body{{}, right.name()};
  REQUIRE(try_send(destination(std::move(to_the_loop)), message(MACH_NOTIFY_DEAD_NAME, body)));
  settle(l);
  CHECK(deaths == 0);
  CHECK(send_references(right.name()) == 1);
}

TEST_CASE("a request that another library displaces is made again when the kernel tells of it") {
  const std::size_t before = names_in_space();
  {
    loop l;
    other_library other;
    receive_right port = receive_right::make(), unconcerned = receive_right::make();
    const send_right right = port.make_send(), second = unconcerned.make_send();
    int deaths = 0, other_deaths = 0;
    l.spawn(count_death(right, deaths));
    l.spawn(count_death(second, other_deaths));
    settle(l);
    // Destroys the loop's right. The kernel notifies of that, once.
    CHECK(other.watch(right));
    settle(l);
    CHECK(deaths == 0);
    CHECK(other.next() == 0);
    CHECK_FALSE(l.poll());
    port.destroy();
    settle(l);
    CHECK(deaths == 1);
    CHECK(other_deaths == 0);
    CHECK(other.next() == MACH_NOTIFY_DEAD_NAME);
    CHECK(dead_references(right.name()) == 1);
    unconcerned.destroy();
    settle(l);
    CHECK(other_deaths == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("what a request has displaced of another library is registered again at its end") {
  const std::size_t before = names_in_space();
  {
    loop l;
    other_library other;
    receive_right port = receive_right::make();
    const send_right right = port.make_send();
    CHECK_FALSE(other.watch(right));
    SUBCASE("the wait is cancelled") {
      CHECK(l.run(with_timeout(1ms, died(right))).error() == kedge::errc::timed_out);
      settle(l);
      CHECK(other.next() == 0);
      port.destroy();
    }
    SUBCASE("two waits one after the other") {
      for (int i = 0; i < 2; ++i) (void)l.run(with_timeout(clock::duration::zero(), died(right)));
      settle(l);
      CHECK(other.next() == 0);
      port.destroy();
    }
    SUBCASE("the port dies during the wait") {
      int deaths = 0;
      l.spawn(count_death(right, deaths));
      settle(l);
      port.destroy();
      settle(l);
      CHECK(deaths == 1);
    }
    CHECK(other.next() == MACH_NOTIFY_DEAD_NAME);
    CHECK(other.next() == 0);
    CHECK(dead_references(right.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("two loops of one space that watch one name do not wake each other") {
  const std::size_t before = names_in_space();
  {
    loop a, b;
    receive_right port = receive_right::make();
    const send_right right = port.make_send();
    int in_a = 0, in_b = 0;
    a.spawn(count_death(right, in_a));
    settle(a);
    b.spawn(count_death(right, in_b));
    settle(b);
    for (int i = 0; i < 10; ++i) {
      CHECK_FALSE(a.poll());
      CHECK_FALSE(b.poll());
    }
    CHECK_FALSE(a.next_deadline());
    CHECK_FALSE(b.next_deadline());
    SUBCASE("one loop receives the notification, and the other is told by it") {
      port.destroy();
      settle(a);
      CHECK(in_a == 1);
      settle(b);
      CHECK(in_b == 1);
    }
    SUBCASE("the loop that does not run keeps nothing from the other") {
      port.destroy();
      settle(b);
      CHECK(in_b == 1);
      CHECK(in_a == 0);
      settle(a);
      CHECK(in_a == 1);
    }
    CHECK(dead_references(right.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a loop that ends leaves the requests of the other loops of its space") {
  const std::size_t before = names_in_space();
  {
    receive_right port = receive_right::make();
    const send_right right = port.make_send();
    int in_first = 0, in_second = 0;
    std::optional<loop> first(std::in_place);
    loop second;
    first->spawn(count_death(right, in_first));
    settle(*first);
    second.spawn(count_death(right, in_second));
    settle(second);
    SUBCASE("before the death") {
      first.reset();
      port.destroy();
    }
    SUBCASE("after the kernel has queued the notification") {
      port.destroy();
      first.reset();
    }
    SUBCASE("after the other loop has received it") {
      port.destroy();
      settle(second);
      first.reset();
    }
    settle(second);
    CHECK(in_first == 0);
    CHECK(in_second == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("loops of two threads see each death of a name that both watch") {
  constexpr int rounds = 200;
  for (int i = 0; i < rounds; ++i) {
    receive_right port = receive_right::make();
    const auto watch = [right = port.make_send()] {
      loop own;
      own.run([&]() -> task<> {
        // A cancelled wait, then one to the end.
        (void)co_await with_timeout(clock::duration::zero(), died(right));
        (co_await died(right)).value();
      }());
    };
    std::thread a(watch), b(watch);
    port.destroy();
    a.join();
    b.join();
  }
}

TEST_CASE("loops of two threads that live longer are told of each other's notifications") {
  constexpr int rounds = 300;
  // Each thread makes the ports whose deaths the other one waits for, and watches them too.
  loop a, b;
  const receive_right to_a = receive_right::make(16), to_b = receive_right::make(16);
  const auto drive = [](loop& l, const receive_right& in, const send_right& out) {
    l.run([&]() -> task<> {
      for (int i = 0; i < rounds; ++i) {
        receive_right port = receive_right::make();
        const send_right right = port.make_send();
        (co_await send(out, message(i, right))).value();
        received m = (co_await in.receive()).value();
        const send_right other = m.take_send(0);
        auto [mine, none] = co_await when_any(died(right), yield());
        (void)mine;
        (void)none;
        port.destroy();
        (co_await died(other)).value();
        (co_await died(right)).value();
      }
    }());
  };
  const send_right from_a = to_b.make_send(), from_b = to_a.make_send();
  std::thread peer([&] { drive(b, to_b, from_b); });
  drive(a, to_a, from_a);
  peer.join();
}

TEST_CASE("a child of fork loses nothing of its own by its parent's waits, and waits itself") {
  std::optional<loop> l(std::in_place);
  receive_right port = receive_right::make();
  const send_right right = port.make_send();
  int deaths = 0;
  l->spawn(count_death(right, deaths));
  settle(*l);
  const auto in_child = [&] {
    l.reset();
    const std::size_t before = names_in_space();
    {
      loop own;
      receive_right mortal = receive_right::make();
      const send_right watched = mortal.make_send();
      int own_deaths = 0;
      own.spawn(count_death(watched, own_deaths));
      settle(own);
      mortal.destroy();
      settle(own);
      if (own_deaths != 1 || deaths != 0) return 1;
    }
    return names_in_space() == before ? 0 : 2;
  };
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(in_child());
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  port.destroy();
  settle(*l);
  CHECK(deaths == 1);
}

TEST_CASE("died_operation::describe names the port") {
  loop l;
  const receive_right port = receive_right::make();
  died_operation op(port.make_send());
  description line;
  op.describe(line);
  std::array<char, 40> expected{};
  std::snprintf(expected.data(), expected.size(), "the death of port 0x%x", port.name());
  CHECK(std::string(line.text()) == expected.data());
}

}  // namespace kedge::mach
