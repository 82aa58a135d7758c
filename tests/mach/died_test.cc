// died(): deaths before and during the wait, several waiters, cancellation, and what the
// notification port makes of forged and displaced notifications.
#include "kedge/mach/died.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>

#include <chrono>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

task<> count_death(const send_right& right, int& deaths) {
  (co_await died(right)).value();
  ++deaths;
}

void settle(loop& l) {
  while (l.poll()) {
  }
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

TEST_CASE("a request that other code displaces is made again after a delay") {
  loop l;
  receive_right port = receive_right::make();
  const send_right right = port.make_send();
  int deaths = 0;
  l.spawn(count_death(right, deaths));
  settle(l);
  {
    const send_once_right dropped = steal_request(right);
  }
  // The kernel notifies the loop of the dropped right. The loop makes the request again 10 ms
  // later.
  while (!l.next_deadline()) l.run_once();
  while (l.next_deadline()) l.run_once();
  settle(l);
  CHECK(deaths == 0);
  port.destroy();
  settle(l);
  CHECK(deaths == 1);
}

TEST_CASE("two loops of one space that watch one name both see the death") {
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
    // For some rounds the loops displace each other's request.
    for (int i = 0; i < 5; ++i) {
      a.run_once(20ms);
      b.run_once(20ms);
    }
    CHECK(in_a + in_b == 0);
    port.destroy();
    while (in_a == 0 || in_b == 0) {
      a.run_once(20ms);
      b.run_once(20ms);
    }
    CHECK(in_a == 1);
    CHECK(in_b == 1);
    CHECK(dead_references(right.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("died_operation::describe names the port") {
  loop l;
  died_operation op(0x1203);
  description line;
  op.describe(line);
  CHECK(std::string(line.text()) == "the death of port 0x1203");
}

}  // namespace kedge::mach
