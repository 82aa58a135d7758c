// send(): success, failure, waiting for room, order, cancellation, destruction.
#include "kedge/mach/send.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "at_sleep.h"
#include "kedge/mach/call.h"
#include "kedge/mach/died.h"
#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/deadlock.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/remote.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

void fill(const receive_right& port) {
  const send_right to = port.make_send();
  while (try_send(to, message(0))) {
  }
}

task<> send_one(const send_right& to, std::uint32_t number) {
  (co_await send(to, message(1, number))).value();
}

task<> note_failure(const send_right& to, message m, std::optional<send_failure>& failure) {
  result<void, send_failure> sent = co_await send(to, std::move(m));
  if (!sent) failure.emplace(std::move(sent).error());
}

}  // namespace

TEST_CASE("send completes at once while the queue has room, by every kind of right") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(16);
    const send_right to = port.make_send();
    l.run([&]() -> task<> {
      CHECK((co_await send(to, message(1))));
      CHECK((co_await send(port.make_send(), message(2))));
      CHECK((co_await send(port.make_send_once(), message(3))));
      CHECK((co_await send(to, message())));  // an empty one is a message too
    }());
    CHECK(send_references(port.name()) == 1);
    CHECK(port.status().mps_msgcount == 4);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("send waits for room in a full queue without blocking the thread") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(1);
    fill(port);
    const send_right to = port.make_send();
    l.spawn(send_one(to, 7));
    settle(l);
    CHECK(l.size() == 1);
    l.run([&]() -> task<> {
      CHECK((co_await port.receive()).value().id() == 0);
      CHECK((co_await port.receive()).value().read<std::uint32_t>() == 7u);
    }());
    settle(l);
    CHECK(l.size() == 0);
    CHECK(send_references(port.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a waiting send holds a reference of its own to the destination") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(1);
    fill(port);
    std::optional<send_right> to = port.make_send();
    SUBCASE("a borrowed right, destroyed during the wait") {
      l.spawn(send_one(*to, 7));
      settle(l);
      to.reset();
      CHECK(send_references(port.name()) == 1);  // what the send itself holds
    }
    SUBCASE("the only right to the port, moved in") {
      l.spawn([&]() -> task<> {
        (co_await send(std::move(*to), message(1, std::uint32_t{7}))).value();
      });
      settle(l);
      CHECK(send_references(port.name()) == 1);
    }
    l.run([&]() -> task<> {
      (void)co_await port.receive();
      CHECK((co_await port.receive()).value().read<std::uint32_t>() == 7u);
    }());
    settle(l);
    CHECK(send_references(port.name()) == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("waiting senders of one loop are served in order, a sender that comes later last") {
  loop l;
  const receive_right port = receive_right::make(1);
  fill(port);
  const send_right to = port.make_send();
  constexpr std::uint32_t count = 20;
  for (std::uint32_t i = 0; i < count; ++i) l.spawn(send_one(to, i));
  settle(l);
  std::vector<std::uint32_t> order;
  l.run([&]() -> task<> {
    (void)co_await port.receive();
    // The queue has room, and no waiting sender has been notified yet. A new sender must not take
    // the room.
    l.spawn(send_one(to, count));
    while (order.size() <= count) {
      order.push_back((co_await port.receive()).value().read<std::uint32_t>().value());
    }
  }());
  for (std::uint32_t i = 0; i <= count; ++i) {
    CAPTURE(i);
    CHECK(order[i] == i);
  }
}

TEST_CASE("a send to a dead port fails (peer_died) and hands the message back") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make();
    const receive_right other = receive_right::make();
    const send_right to = port.make_send();
    port.destroy();
    std::optional<send_failure> failure;
    l.run(note_failure(to, message(3, "kept", other.make_send()), failure));
    REQUIRE(failure);
    CHECK(failure->code() == errc::peer_died);
    CHECK(failure->message().id() == 3);
    CHECK(failure->message().rights() == 1);
    CHECK(send_references(other.name()) == 1);
    failure.reset();
    CHECK(send_references(other.name()) == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "when the destination dies, each waiting send fails (peer_died) and hands its message back") {
  const std::size_t before = names_in_space();
  {
    loop l;
    receive_right port = receive_right::make(1);
    fill(port);
    const receive_right other = receive_right::make();
    const send_right to = port.make_send();
    std::vector<std::optional<send_failure>> failures(3);
    int number = 0;
    for (auto& f : failures) l.spawn(note_failure(to, message(++number, other.make_send()), f));
    settle(l);
    port.destroy();
    settle(l);
    CHECK(l.size() == 0);
    number = 0;
    for (auto& f : failures) {
      CAPTURE(number);
      REQUIRE(f);
      CHECK(f->code() == errc::peer_died);
      CHECK(f->message().id() == ++number);
      CHECK(f->message().rights() == 1);
    }
    CHECK(dead_references(to.name()) == 1);
    failures.clear();
    CHECK(send_references(other.name()) == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("value() of a failed send throws std::system_error with the send's error") {
  loop l;
  receive_right port = receive_right::make();
  const send_right to = port.make_send();
  port.destroy();
  try {
    l.run(send_one(to, 1));
    FAIL("did not throw");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::peer_died);
  }
}

TEST_CASE(
    "a send that times out hands its message back, releases its right, and the next one waits") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(1);
    fill(port);
    const receive_right other = receive_right::make();
    const send_right to = port.make_send();
    {
      auto sent = l.run(with_timeout(1ms, send(to, message(1, other.make_send()))));
      REQUIRE_FALSE(sent);
      CHECK(sent.error().code() == kedge::errc::timed_out);
      CHECK(sent.error().message());
      CHECK(send_references(other.name()) == 1);  // in the message
    }
    CHECK(send_references(other.name()) == 0);
    CHECK(send_references(port.name()) == 1);
    // The next send waits and succeeds.
    l.spawn(send_one(to, 7));
    settle(l);
    l.run([&]() -> task<> {
      (void)co_await port.receive();
      CHECK((co_await port.receive()).value().read<std::uint32_t>() == 7u);
    }());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("when the first waiting send times out, the next one is still served") {
  loop l;
  const receive_right port = receive_right::make(1);
  fill(port);
  const send_right to = port.make_send();
  bool gave_up = false;
  l.spawn([&]() -> task<> {
    gave_up = !co_await with_timeout(1ms, send(to, message(1, std::uint32_t{1})));
  });
  l.spawn(send_one(to, 2));
  while (!gave_up) l.run_once();
  CHECK(l.size() == 1);
  l.run([&]() -> task<> {
    (void)co_await port.receive();
    CHECK((co_await port.receive()).value().read<std::uint32_t>() == 2u);
  }());
  settle(l);
  CHECK(l.size() == 0);
}

TEST_CASE(
    "cancelling the first waiting send when it has been notified of room serves the next one") {
  loop l;
  const receive_right port = receive_right::make(1);
  fill(port);
  const receive_right trigger = receive_right::make();
  const send_right to = port.make_send();
  bool triggered = false;
  l.spawn([&]() -> task<> {
    auto [message_came, sent] =
        co_await when_any(trigger.receive(), send(to, message(1, std::uint32_t{1})));
    triggered = message_came.has_value();
    (void)sent;
  });
  l.spawn(send_one(to, 2));
  settle(l);
  // The trigger and the room become ready in one turn.
  REQUIRE(try_send(trigger.make_send(), message(0)));
  std::vector<std::uint32_t> got;
  l.run([&]() -> task<> {
    (void)co_await port.receive();
    do {
      got.push_back((co_await port.receive()).value().read<std::uint32_t>().value());
    } while (got.back() != 2);
  }());
  settle(l);
  CHECK(l.size() == 0);
  CHECK(triggered);
}

TEST_CASE("destroying the loop ends waiting sends and releases their rights") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(1);
    fill(port);
    const receive_right other = receive_right::make();
    {
      loop l;
      const send_right to = port.make_send();
      std::vector<std::optional<send_failure>> failures(5);
      for (auto& f : failures) l.spawn(note_failure(to, message(1, other.make_send()), f));
      settle(l);
      CHECK(l.size() == 5);
    }
    CHECK(send_references(other.name()) == 0);
    CHECK(send_references(port.name()) == 0);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a message that a full space cannot take back is lost, and says so" *
          doctest::skip(!kernel::has_many_tasks())) {
  const kernel::task small = kernel::create_task();
  {
    const kernel::current_task_guard inside(small);
    {
      const receive_right port = receive_right::make(1);
      const send_right to = port.make_send();
      REQUIRE(try_send(to, message(1)));
      const receive_right carried = receive_right::make();
      const std::size_t before = names_in_space();
      // The right is moved out. Coming back it needs a name, and there is none.
      message m(2, carried.make_send_once());
      kernel::limit_names(small, 0);
      auto sent = try_send(to, std::move(m));
      kernel::limit_names(small, 1000);
      REQUIRE_FALSE(sent);
      CHECK(sent.error().code() == errc::rights_lost);
      CHECK_FALSE(sent.error().message());
      CHECK(carried.status().mps_msgcount == 1);  // that it was destroyed
      CHECK(names_in_space() == before);
    }
  }
  kernel::terminate_task(small);
}

TEST_CASE("raising the queue limit lets the waiting sends of every loop of the space go on") {
  const std::size_t before = names_in_space();
  {
    loop a, b;
    receive_right port = receive_right::make(1);
    fill(port);
    const send_right to = port.make_send();
    for (std::uint32_t i = 0; i < 3; ++i) a.spawn(send_one(to, i));
    b.spawn(send_one(to, 3));
    settle(a);
    settle(b);
    port.set_queue_limit(3);
    settle(a);
    settle(b);
    CHECK(port.status().mps_msgcount == 3);
    CHECK(a.size() + b.size() == 2);
    port.set_queue_limit(16);
    settle(a);
    settle(b);
    CHECK(a.size() + b.size() == 0);
    CHECK(port.status().mps_msgcount == 5);
    port.set_queue_limit(1);
    CHECK_FALSE(a.poll());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("room that one loop is notified of is offered to the waiting sends of the others") {
  loop a, b;
  const receive_right port = receive_right::make(1);
  fill(port);
  const send_right to = port.make_send();
  a.spawn(send_one(to, 1));
  b.spawn(send_one(to, 2));
  settle(a);
  settle(b);
  const auto take = [&] {
    received m;
    std::size_t size = 256;
    REQUIRE(try_receive(port.name(), size, m) == MACH_MSG_SUCCESS);
  };
  take();
  // The first loop is not driven. The room is not kept for it.
  settle(b);
  CHECK(b.size() == 0);
  settle(a);
  CHECK(a.size() == 1);
  take();
  settle(a);
  CHECK(a.size() == 0);
}

TEST_CASE("one name watched for room and for death notifies both waits") {
  loop l;
  receive_right port = receive_right::make(1);
  fill(port);
  const send_right to = port.make_send();
  bool dead = false;
  l.spawn([&]() -> task<> {
    (co_await died(to)).value();
    dead = true;
  });
  l.spawn(send_one(to, 1));
  settle(l);
  l.run([&]() -> task<> {
    (void)co_await port.receive();
    CHECK((co_await port.receive()).value().read<std::uint32_t>() == 1u);
  }());
  settle(l);
  CHECK_FALSE(dead);
  CHECK(l.size() == 1);
  port.destroy();
  settle(l);
  CHECK(dead);
}

TEST_CASE("900 messages from three threads' loops pass a queue of two in order") {
  loop l;
  const receive_right port = receive_right::make(2);
  constexpr int threads = 3, each = 300;
  std::vector<std::thread> senders;
  for (int t = 0; t < threads; ++t) {
    senders.emplace_back([to = port.make_send(), t] {
      loop own;
      own.run([&]() -> task<> {
        for (int i = 0; i < each; ++i) (co_await send(to, message(t, i))).value();
      }());
    });
  }
  std::vector<int> next(threads, 0);
  bool in_order = true;
  l.run([&]() -> task<> {
    for (int n = 0; n < threads * each; ++n) {
      const received m = (co_await port.receive()).value();
      in_order = in_order && m.read<int>() == next[static_cast<std::size_t>(m.id())]++;
    }
  }());
  for (std::thread& t : senders) t.join();
  CHECK(in_order);
}

namespace {

// Answers each message with two to the peer, and waits for room.
task<> answer_twice(const receive_right& own, const send_right& peer) {
  for (;;) {
    const received m = (co_await own.receive()).value();
    for (int i = 0; i < 2; ++i) (co_await send(peer, message(m.id()))).value();
  }
}

std::string port_text(const receive_right& port) {
  char text[16];
  std::snprintf(text, sizeof text, "port 0x%x", port.name());
  return text;
}

// Receives one message of the port on the loop, which then is the last to have received from it.
void receive_once(loop& l, const receive_right& port) {
  REQUIRE(try_send(port.make_send(), message(0)));
  l.run([](const receive_right& from) -> task<> { (void)(co_await from.receive()).value(); }(port));
}

}  // namespace

TEST_CASE("run() reports two services of one loop that wait for room in each other's queues") {
  const std::size_t before = names_in_space();
  {
    const receive_right a = receive_right::make(1), b = receive_right::make(1);
    const send_right to_a = a.make_send(), to_b = b.make_send();
    loop l;
    l.spawn(answer_twice(a, to_b));
    REQUIRE(try_send(to_a, message(1)));
    std::string report;
    try {
      l.run(answer_twice(b, to_a));
    } catch (const deadlock& d) {
      report = d.what();
    }
    CAPTURE(report);
    CHECK(report.find("room in the queue of " + port_text(a)) != std::string::npos);
    CHECK(report.find("room in the queue of " + port_text(b)) != std::string::npos);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("run() waits for room that something beside the loop's tasks may make") {
  const receive_right port = receive_right::make(1);
  const send_right to = port.make_send();
  loop l;
  at_sleep watch;
  std::thread drains;
  const auto drain_later = [&](const receive_right& from) {
    watch.is_asleep = false;
    l.set_observer(&watch);
    drains = std::thread([&from, &watch] {
      while (!watch.is_asleep) std::this_thread::yield();
      received m;
      std::size_t size = 0;
      while (try_receive(from.name(), size, m) != MACH_MSG_SUCCESS) std::this_thread::yield();
    });
  };
  SUBCASE("the loop has never received from the port") {
    fill(port);
    drain_later(port);
    CHECK_NOTHROW(l.run(send_one(to, 1)));
  }
  SUBCASE("another loop was the last to receive from it") {
    receive_once(l, port);
    std::thread([&] {
      loop other;
      receive_once(other, port);
    }).join();
    fill(port);
    drain_later(port);
    CHECK_NOTHROW(l.run(send_one(to, 1)));
  }
  SUBCASE("the port is in a set") {
    receive_once(l, port);
    port_set set = port_set::make();
    set.insert(port);
    fill(port);
    drain_later(port);
    CHECK_NOTHROW(l.run(send_one(to, 1)));
  }
  SUBCASE("a thread has a remote of the loop") {
    receive_once(l, port);
    fill(port);
    const remote keeps = l.get_remote();
    drain_later(port);
    CHECK_NOTHROW(l.run(send_one(to, 1)));
  }
  SUBCASE("a task of the loop receives, after it was woken by something else") {
    receive_once(l, port);
    fill(port);
    l.spawn([](const receive_right& from) -> task<> {
      co_await sleep_for(1ns);
      (void)(co_await from.receive()).value();
    }(port));
    CHECK_NOTHROW(l.run(send_one(to, 1)));
  }
  if (drains.joinable()) drains.join();
  l.set_observer(nullptr);
}

namespace {

task<mach_msg_id_t> call_once(const send_right& service) {
  const received answer = (co_await call(service, message(1))).value();
  co_return answer.id();
}

}  // namespace

TEST_CASE("run() reports a call that waits for room which only its own loop can make") {
  const receive_right port = receive_right::make(1);
  const send_right to = port.make_send();
  loop l;
  receive_once(l, port);
  fill(port);
  CHECK_THROWS_AS(l.run(call_once(to)), deadlock);
}

TEST_CASE("run() waits for a reply that something beside the loop's tasks may send") {
  const receive_right port = receive_right::make();
  const send_right to = port.make_send();
  loop l;
  at_sleep watch;
  l.set_observer(&watch);
  received request;
  std::atomic<bool> task_has_it = false;
  bool task_receives = false;
  SUBCASE("a thread receives the request, from a port of which the loop was the last receiver") {
    receive_once(l, port);
  }
  SUBCASE("a thread receives the request, from a port from which the loop has never received") {}
  SUBCASE("a thread replies to a request that a task of the loop has received") {
    task_receives = true;
    const auto receive = [&]() -> task<> {
      request = (co_await port.receive()).value();
      task_has_it = true;
    };
    l.spawn(receive);
  }
  watch.is_asleep = false;
  std::thread replies([&] {
    while (!watch.is_asleep || (task_receives && !task_has_it)) std::this_thread::yield();
    std::size_t size = 0;
    if (!task_receives) CHECK(try_receive(port.name(), size, request) == MACH_MSG_SUCCESS);
    CHECK_FALSE(reply(request, message(7)));
  });
  CHECK(l.run(call_once(to)) == 7);
  replies.join();
  l.set_observer(nullptr);
}

TEST_CASE("run() waits for a death beside a wait for room that nothing can make") {
  receive_right port = receive_right::make(1);
  const send_right to = port.make_send();
  loop l;
  receive_once(l, port);
  fill(port);
  l.spawn([](send_right right) -> task<> { (void)co_await died(right); }(to));
  std::optional<send_failure> failure;
  std::thread kills([&] { port.destroy(); });
  l.run(note_failure(to, message(1), failure));
  kills.join();
  REQUIRE(failure);
  CHECK(failure->code() == errc::peer_died);
}

}  // namespace kedge::mach
