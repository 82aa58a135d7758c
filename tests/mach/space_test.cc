// space, scoped_space: several tasks in one process, on one thread and on several.
#include "kedge/mach/space.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstdint>
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
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

// A task with its loop. The loop's coroutines run with the names of its space.
struct peer {
  space names;
  std::optional<loop> runs;
  peer() {
    const scoped_space inside(names);
    runs.emplace();
    runs->set_hook(&names);
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
    (co_await send(request.take_reply(), message(request.id(), request.text()))).value();
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
    server->runs.reset();
    server.reset();
  }
  while (!dead) client.runs->run_once();
  CHECK(alone);
  client.runs.reset();
  if (server) {
    server->runs.reset();
  } else {
    // The space is gone, and the right with it.
    std::move(requests).release();
  }
}

TEST_CASE("a loop that was made in a space and is driven without its hook refuses to wait there" *
          several_tasks) {
  space names;
  std::optional<loop> runs;
  {
    const scoped_space inside(names);
    runs.emplace();
  }
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
    l.set_hook(&server_space);
    l.run(echo(std::move(requests), count));
  });
  int right_replies = 0;
  {
    const scoped_space inside(client_space);
    loop l;
    l.set_hook(&client_space);
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
