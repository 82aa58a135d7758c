// space, scoped_space: several tasks in one process, on one thread and on several.
#include "kedge/mach/space.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/died.h"
#include "kedge/mach/no_senders.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

// A task with its loop. The loop's coroutines run with the names of its space.
struct peer {
  space names;
  std::optional<loop> runs;
  peer() {
    const scoped_space inside(names);
    runs.emplace();
  }
};

// Makes `requests` in the space of `server`. Returns the name of a send right to it in the space of
// `client`.
mach_port_name_t connect(peer& server, peer& client, receive_right& requests) {
  const scoped_space in_server(server.names);
  requests = receive_right::make();
  send_right right = requests.make_send();
  return client.names.give(std::move(right));
}

task<> echo(receive_right requests, int count) {
  for (int i = 0; i < count; ++i) {
    received request = (co_await requests.receive()).value();
    CHECK_FALSE(reply(request, message(request.id(), request.text())));
  }
}

// On Darwin a process is one task, and every space is that task.
const auto several_tasks = doctest::skip(!kernel::has_many_tasks());

}  // namespace

TEST_CASE("a name made in one space is not visible in another, and scoped_space nests" *
          several_tasks) {
  const std::size_t before = names_in_space();
  space other;
  {
    const scoped_space inside(other);
    const std::size_t empty = names_in_space();
    {
      const receive_right port = receive_right::make();
      CHECK(names_in_space() == empty + 1);
    }
    CHECK(names_in_space() == empty);
    space third;
    {
      const scoped_space deeper(third);
      const scoped_space and_back(other);
      const receive_right port = receive_right::make();
    }
    CHECK(names_in_space() == empty);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "a call from one task to another on the same thread gets its reply, then sees its death") {
  const std::size_t before = names_in_space();
  {
    peer server, client;
    receive_right requests;
    const mach_port_name_t name = connect(server, client, requests);
    server.runs->spawn(echo(std::move(requests), 3));
    bool done = false;
    client.runs->spawn([&]() -> task<> {
      const send_right service = send_right::adopt(name);
      for (const std::string text : {"a", "bc", "def"}) {
        const received reply = (co_await call(service, message(1, text))).value();
        CAPTURE(text);
        CHECK(reply.text() == text);
      }
      (co_await died(service)).value();
      done = true;
    });
    while (!done) {
      server.runs->poll();
      client.runs->poll();
    }
    server.runs.reset();
    client.runs.reset();
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a receive right moves into another space and out of it, with its queue" *
          several_tasks) {
  const std::size_t before = names_in_space();
  space other;
  const auto names_there = [&] {
    const scoped_space inside(other);
    return names_in_space();
  };
  const std::size_t before_there = names_there();
  {
    receive_right port = receive_right::make();
    const send_right to = port.make_send();
    REQUIRE(try_send(to, message(1)));
    REQUIRE(try_send(to, message(2)));
    mach_port_name_t name = other.give(std::move(port));
    CHECK_FALSE(port);
    {
      const scoped_space inside(other);
      receive_right there = receive_right::adopt(name);
      CHECK(take(there).id() == 1);
      name = std::move(there).release();
    }
    CHECK(names_there() == before_there + 1);
    receive_right back = other.take_receive(name);
    CHECK(back.name() == to.name());
    CHECK(take(back).id() == 2);
    CHECK(names_there() == before_there);
    CHECK_THROWS_AS((void)other.take_receive(name), std::system_error);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a receive right that another space has no room for dies, and is consumed" *
          several_tasks) {
  const std::size_t before = names_in_space();
  {
    space other;
    {
      const scoped_space inside(other);
      kernel::limit_names(kernel::task_of_thread(), 0);
    }
    receive_right port = receive_right::make();
    const send_right to = port.make_send();
    CHECK_THROWS_AS(other.give(std::move(port)), std::system_error);
    CHECK_FALSE(port);
    CHECK(to.dead());
    CHECK_THROWS_AS(other.give(receive_right()), std::system_error);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a service that ends completes its client's died() and no_senders()" * several_tasks) {
  auto server = std::make_unique<peer>();
  peer client;
  receive_right requests;
  const mach_port_name_t name = connect(*server, client, requests);
  bool dead = false, alone = false;
  client.runs->spawn([&]() -> task<> {
    const send_right service = send_right::adopt(name);
    const receive_right events = receive_right::make();
    // The service holds this right, in its queue, as long as it lives.
    (co_await send(service, message(1, events.make_send()))).value();
    (co_await no_senders(events)).value();
    alone = true;
    (co_await died(service)).value();
    dead = true;
  });
  while (client.runs->poll()) {
  }
  CHECK_FALSE(alone);
  SUBCASE("it destroys its receive right") {
    const scoped_space in_server(server->names);
    requests.destroy();
  }
  SUBCASE("its space is destroyed with its rights in place") {
    {
      // The name stays, without an object that the library would report as left over.
      const scoped_space in_server(server->names);
      static_cast<void>(std::move(requests).release());
    }
    server->runs.reset();
    server.reset();
  }
  while (!dead) client.runs->run_once();
  CHECK(alone);
  client.runs.reset();
  if (server) server->runs.reset();
}

TEST_CASE("a loop that was made in a space and has lost its hook refuses to wait outside of it" *
          several_tasks) {
  space names;
  std::optional<loop> runs;
  {
    const scoped_space inside(names);
    runs.emplace();
  }
  runs->set_hook(nullptr);
  const auto wait = [](receive_right r) -> task<> { static_cast<void>(co_await r.receive()); };
  std::string message;
  try {
    runs->run(wait(receive_right::make()));
  } catch (const std::logic_error& e) {
    message = e.what();
  }
  CHECK(message.find("set_hook()") != std::string::npos);

  // With the space current, or with the hook, it waits.
  {
    const scoped_space inside(names);
    runs->spawn(wait(receive_right::make()));
    runs->poll();
    CHECK(runs->size() == 1);
  }
  runs->set_hook(&names);
  runs->poll();
  CHECK(runs->size() == 1);
}

TEST_CASE("a loop that was made in a space drives there, from wherever it is driven") {
  peer p;
  const std::size_t before = names_in_space();
  p.runs->run([&]() -> task<> {
    CHECK(drive_hook::current() == &p.names);
    const receive_right port = receive_right::make();
    CHECK(try_send(port.make_send(), message(7)));
    CHECK((co_await port.receive()).value().id() == 7);
  }());
  CHECK(drive_hook::current() == nullptr);
  CHECK(names_in_space() == before);
}

TEST_CASE("spaces nest as deep as the program does" * several_tasks) {
  space a, b;
  const std::size_t before = names_in_space();
  const std::function<void(int)> descend = [&](int depth) {
    if (depth == 0) return;
    const scoped_space inside(depth % 2 == 0 ? a : b);
    descend(depth - 1);
    CHECK(drive_hook::current() == (depth % 2 == 0 ? &a : &b));
  };
  descend(100);
  CHECK(names_in_space() == before);
}

TEST_CASE("give places a right under the name that the space has for it already" * several_tasks) {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    space other;
    const mach_port_name_t first = other.give(port.make_send());
    CHECK(port.status().mps_srights == 1);
    CHECK(other.give(port.make_send()) == first);
    receive_right dead = receive_right::make();
    send_right to_dead = dead.make_send();
    dead.destroy();
    CHECK_THROWS_AS(other.give(std::move(to_dead)), std::system_error);
    const scoped_space inside(other);
    const send_right one = send_right::adopt(first), two = send_right::adopt(first);
    CHECK(send_references(first) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("threads that give rights to one space get a name each" * several_tasks) {
  space common;
  const auto give_many = [&] {
    for (int i = 0; i < 200; ++i) {
      const receive_right port = receive_right::make();
      const mach_port_name_t name = common.give(port.make_send());
      const scoped_space inside(common);
      const send_right given = send_right::adopt(name);
      if (send_references(name) != 1) std::abort();
    }
  };
  std::thread other(give_many);
  give_many();
  other.join();
  const scoped_space inside(common);
  space fresh;
  const std::size_t left = names_in_space();
  const scoped_space in_fresh(fresh);
  CHECK(left == names_in_space());
}

TEST_CASE("two tasks on two threads exchange 200 calls") {
  space server_space;
  receive_right requests;
  mach_port_name_t name = MACH_PORT_NULL;
  space client_space;
  {
    const scoped_space in_server(server_space);
    requests = receive_right::make();
    name = client_space.give(requests.make_send());
  }
  constexpr int count = 200;
  std::thread server([&] {
    const scoped_space inside(server_space);
    loop l;
    l.run(echo(std::move(requests), count));
  });
  int right_replies = 0;
  {
    const scoped_space inside(client_space);
    loop l;
    l.run([&]() -> task<> {
      const send_right service = send_right::adopt(name);
      for (int i = 0; i < count; ++i) {
        const received reply = (co_await call(service, message(i, std::to_string(i)))).value();
        right_replies += reply.text() == std::to_string(i) ? 1 : 0;
      }
      (co_await died(service)).value();
    }());
  }
  server.join();
  CHECK(right_replies == count);
}

}  // namespace kedge::mach
