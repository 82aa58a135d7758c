// Several tasks in one process: two loops on one thread, each in its space, as two tasks.
#include "kedge/mach/space.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
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

// A task with its loop. What runs in the loop has the names of its space.
struct peer {
  space names;
  std::optional<loop> runs;
  peer() {
    const entered inside(names);
    runs.emplace();
    runs->set_hook(&names);
  }
};

// A receive right in `server`, and a send right to it in `client`, by name.
mach_port_name_t connect(peer& server, peer& client, receive_right& requests) {
  const entered in_server(server.names);
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

// On Darwin a process is one task, and every space is that one.
const auto several_tasks = doctest::skip(!kernel::has_many_tasks());

}  // namespace

TEST_CASE("a space has names of its own" * several_tasks) {
  const std::size_t before = names_in_space();
  space other;
  {
    const entered inside(other);
    const std::size_t empty = names_in_space();
    {
      const receive_right port = receive_right::make();
      CHECK(names_in_space() == empty + 1);
    }
    CHECK(names_in_space() == empty);
    space third;
    {
      const entered deeper(third);
      const entered and_back(other);
      const receive_right port = receive_right::make();
    }
    CHECK(names_in_space() == empty);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a call from one task to another, both on this thread") {
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

TEST_CASE("a task that ends is a death and a lack of senders to the others" * several_tasks) {
  auto server = std::make_unique<peer>();
  peer client;
  receive_right requests;
  const mach_port_name_t name = connect(*server, client, requests);
  bool dead = false, alone = false;
  client.runs->spawn([&]() -> task<> {
    const send_right service = send_right::adopt(name);
    const receive_right events = receive_right::make();
    // The service holds a right to us as long as it lives.
    (co_await send(service, message(1, events.make_send()))).value();
    (co_await no_senders(events)).value();
    alone = true;
    (co_await died(service)).value();
    dead = true;
  });
  while (client.runs->poll()) {
  }
  CHECK_FALSE(alone);
  SUBCASE("by its loop and its rights") {
    const entered in_server(server->names);
    requests.destroy();
  }
  SUBCASE("all at once, with its rights in place") {
    server->runs.reset();
    server.reset();
  }
  while (!dead) client.runs->run_once();
  CHECK(alone);
  client.runs.reset();
  if (server) {
    server->runs.reset();
  } else {
    // Its name means nothing any more; there is nothing to destroy.
    std::move(requests).release();
  }
}

TEST_CASE("tasks on threads of their own") {
  space server_space;
  receive_right requests;
  mach_port_name_t name = MACH_PORT_NULL;
  space client_space;
  {
    const entered in_server(server_space);
    requests = receive_right::make();
    name = client_space.give(requests.make_send());
  }
  constexpr int count = 200;
  std::thread server([&] {
    const entered inside(server_space);
    loop l;
    l.set_hook(&server_space);
    l.run(echo(std::move(requests), count));
  });
  int right_answers = 0;
  {
    const entered inside(client_space);
    loop l;
    l.set_hook(&client_space);
    l.run([&]() -> task<> {
      const send_right service = send_right::adopt(name);
      for (int i = 0; i < count; ++i) {
        const received reply = (co_await call(service, message(i, std::to_string(i)))).value();
        right_answers += reply.text() == std::to_string(i) ? 1 : 0;
      }
      (co_await died(service)).value();
    }());
  }
  server.join();
  CHECK(right_answers == count);
}

}  // namespace kedge::mach
