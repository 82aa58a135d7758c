// Dialogues of two tasks by the Mach library, with a fault of the kernel at every point: no task
// waits for ever, and no right, port or memory is lost or released twice.
#include "balance.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/death_watch.h"
#include "kedge/mach/died.h"
#include "kedge/mach/immovable.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/no_senders.h"
#include "kedge/mach/port_destroyed.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/send_once_gone.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/space.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "tests/seeds.h"

namespace kedge::mach {
namespace {

// On Darwin there are no faults.
const auto with_faults = doctest::skip(!kernel::has_many_tasks());

// Returns true if the message was sent.
bool note_sent(const result<void, send_failure>& sent) {
  if (!sent) note(sent.error().code());
  return sent.has_value();
}

// --- Servers -------------------------------------------------------------------------------------

// Receives the next request. Empty if the clients have gone, or the kernel fails.
task<received> next_request(const receive_right& requests) {
  auto [request, gone] = co_await when_any(requests.receive(), no_senders(requests));
  if (!request || !*request) co_return received();
  co_return std::move(**request);
}

// Takes each request apart, and replies.
task<> answer(receive_right requests) {
  for (;;) {
    received request = co_await next_request(requests);
    if (!request) co_return;
    std::vector<send_right> sends;
    std::vector<receive_right> receives;
    for (auto& each : request.descriptors()) {
      if (send_right right = each.take_send()) sends.push_back(std::move(right));
      if (receive_right right = each.take_receive()) receives.push_back(std::move(right));
    }
    message m(2, std::uint32_t{7});
    if (!sends.empty()) m.append(std::move(sends.front()));
    note(reply(request, std::move(m)));
  }
}

task<> take_arrays(receive_right requests) {
  for (;;) {
    received request = co_await next_request(requests);
    if (!request) co_return;
    static_cast<void>(request.take_send_array(0));
    static_cast<void>(request.take_send_once_array(1));
    static_cast<void>(request.take_receive_array(2));
  }
}

// Sends a message to each send right of a request, and replies with the number of those sent.
task<> send_back(receive_right requests) {
  for (;;) {
    received request = co_await next_request(requests);
    if (!request) co_return;
    std::uint32_t count = 0;
    for (auto& each : request.descriptors()) {
      if (note_sent(try_send(each.take_send(), message(3)))) ++count;
    }
    note(reply(request, message(2, count)));
  }
}

// Ends with the first request.
task<> end_soon(receive_right requests) {
  static_cast<void>(co_await next_request(requests));
}

// Leaves the requests as they are.
task<> ignore(receive_right requests) {
  for (;;) {
    const received request = co_await next_request(requests);
    if (!request) co_return;
  }
}

// --- Clients -------------------------------------------------------------------------------------

task<> send_words(loop&, send_right to) {
  for (std::uint32_t i = 0; i < 4; ++i) {
    message m(1, i);
    note_sent(co_await send(to, std::move(m)));
  }
}

task<> send_rights(loop&, send_right to) {
  const receive_right port = receive_right::make();
  for (int i = 0; i < 2; ++i) {
    message m(1, port.make_send(), port.make_send_once(), receive_right::make());
    m.reply_to(port.make_send_once());
    note_sent(co_await send(to, std::move(m)));
  }
}

task<> ask(loop&, send_right to) {
  for (int i = 0; i < 2; ++i) {
    message m(1, std::uint32_t{7});
    const auto r = co_await call(to, std::move(m));
    if (!r) note(r.error().code());
  }
}

// Leaves each call at a moment of its own.
task<> ask_and_leave(loop&, send_right to) {
  for (int turns = 0; turns < 4; ++turns) {
    message m(1, std::uint32_t{7});
    const auto wait = [](int count) -> task<> {
      while (count-- > 0) co_await yield();
    };
    auto [r, left] = co_await when_any(call(to, std::move(m)), wait(turns));
    if (r && !*r) note(r->error().code());
  }
}

task<> ask_for_rights(loop&, send_right to) {
  const receive_right port = receive_right::make();
  for (int i = 0; i < 2; ++i) {
    message m(1, port.make_send(), receive_right::make());
    auto r = co_await call(to, std::move(m));
    if (!r) note(r.error().code());
    if (r && r->rights() != 0) static_cast<void>(r->take_send(0));
  }
}

task<> send_memory(loop&, send_right to) {
  const receive_right port = receive_right::make();
  for (const std::size_t size : {std::size_t{100}, std::size_t{1} << 20}) {
    message m(1, port.make_send(), memory_region::make(size), port.make_send_once());
    note_sent(co_await send(to, std::move(m)));
  }
}

task<> send_arrays(loop&, send_right to) {
  const receive_right port = receive_right::make();
  std::vector<send_right> sends;
  std::vector<send_once_right> onces;
  std::vector<receive_right> receives;
  for (int i = 0; i < 3; ++i) {
    sends.push_back(port.make_send());
    onces.push_back(port.make_send_once());
    receives.push_back(receive_right::make());
  }
  message m(1, std::move(sends), std::move(onces), std::move(receives));
  note_sent(co_await send(to, std::move(m)));
}

task<> ask_with_arrays(loop&, send_right to) {
  const receive_right port = receive_right::make();
  for (const bool moves : {false, true}) {
    message m(1, port.make_send(), memory_region::make(100));
    if (moves) m.append(receive_right::make());
    for (int i = 0; i < 2; ++i) {
      std::vector<send_right> sends;
      sends.push_back(port.make_send());
      m.append(std::move(sends));
    }
    const auto r = co_await call(to, std::move(m));
    if (!r) note(r.error().code());
  }
}

task<> send_immovable(loop&, send_right to) {
  message m(1, immovable(receive_right::make()));
  note_sent(co_await send(to, std::move(m)));
}

task<> see_death(loop&, send_right to) {
  message m(1);
  if (!note_sent(co_await send(to, std::move(m)))) co_return;
  static_cast<void>(co_await died(to));
}

task<> see_death_and_room(loop&, send_right to) {
  message first(1);
  if (!note_sent(co_await send(to, std::move(first)))) co_return;
  message second(1);
  auto [sent, death] = co_await when_any(send(to, std::move(second)), died(to));
  if (sent) note_sent(*sent);
  static_cast<void>(co_await died(to));
}

task<> watch_deaths(loop& own, send_right to) {
  death_watch<int> deaths(own);
  const receive_right port = receive_right::make();
  const send_right to_own = port.make_send();
  if (!deaths.add(to, 1) || !deaths.add(to_own, 2)) co_return;
  message m(1);
  if (!note_sent(co_await send(to, std::move(m)))) co_return;
  static_cast<void>(co_await deaths.next());
}

task<> see_no_senders(loop&, send_right to) {
  const receive_right port = receive_right::make();
  for (int i = 0; i < 2; ++i) {
    message m(1, port.make_send());
    if (!note_sent(co_await send(to, std::move(m)))) co_return;
    static_cast<void>(co_await no_senders(port));
  }
}

task<> get_back(loop&, send_right to) {
  receive_right port = receive_right::make();
  const port_destroyed returned(port);
  message m(1, std::move(port));
  if (!note_sent(co_await send(to, std::move(m)))) co_return;
  auto back = co_await returned.wait();
  if (back) static_cast<void>(back->make_send());
}

task<> see_end_of_once(loop&, send_right to) {
  const receive_right token = receive_right::make();
  message m(1, token.make_send_once());
  if (!note_sent(co_await send(to, std::move(m)))) co_return;
  static_cast<void>(co_await send_once_gone(token));
}

// The reply says how many messages the server has sent to the rights of the request.
task<> receive_from_set(loop&, send_right to) {
  const receive_right one = receive_right::make(), two = receive_right::make();
  port_set set = port_set::make();
  set.insert(one, 1);
  set.insert(two, 2);
  message m(1, one.make_send(), two.make_send());
  auto r = co_await call(to, std::move(m));
  if (!r) note(r.error().code());
  for (std::uint32_t left = r ? r->read<std::uint32_t>().value_or(0) : 0; left > 0; --left) {
    static_cast<void>(co_await set.receive());
  }
}

task<> give_to_a_space(loop&, send_right to) {
  const receive_right port = receive_right::make();
  space third;
  third.give(port.make_send());
  third.give(send_right(to));
  static_cast<void>(co_await yield());
}

struct open_sum {
  static constexpr mach_msg_id_t id = 10;
  struct reply {
    send_right connection;
  };
};
struct add {
  static constexpr mach_msg_id_t id = 11;
  std::uint32_t number;
  struct reply {
    std::uint32_t total;
  };
};
struct sum {
  std::uint32_t total = 0;
};

void say_nothing(mach_msg_id_t, const audit_token_t&, const std::exception_ptr&) noexcept {}

// A server with a connection for each client, until the clients have gone.
task<> serve_sums(receive_right requests) {
  serve_control control;
  const auto open = [](open_sum&, client& c) { return open_sum::reply{c.open<sum>()}; };
  const auto count = [](add& q, sum& s) -> task<add::reply> {
    co_await yield();
    co_return add::reply{s.total += q.number};
  };
  const auto end = [&]() -> task<> {
    static_cast<void>(co_await no_senders(requests));
    control.stop();
  };
  const serve_options options{.peers = same_user(), .control = &control, .on_failure = say_nothing};
  auto served = serve(requests, options, open, count);
  co_await when_all(std::move(served), end());
}

task<> ask_for_sums(loop&, send_right to) {
  for (int i = 0; i < 2; ++i) {
    auto opened = co_await mach::call<open_sum>(to);
    if (!opened) {
      note(opened.error().code());
      co_return;
    }
    for (std::uint32_t n = 1; n <= 2; ++n) {
      const auto added = co_await mach::call<add>(opened->connection, n);
      if (!added) note(added.error().code());
    }
  }
}

struct named_dialogue {
  const char* name;
  dialogue of;
};

// A server does not report a reply of which the kernel has consumed a part (errc::rights_lost), so
// it cannot note the leak.
constexpr std::uint32_t losing_a_reply = kernel::fault_plan::only(kernel::fault::sent_right) |
                                         kernel::fault_plan::only(kernel::fault::descriptor_memory);

const named_dialogue dialogues[] = {
    {"words to a queue that is full at times", {&send_words, &ignore, 1}},
    {"rights of every kind", {&send_rights, &answer}},
    {"calls", {&ask, &answer}},
    {"calls to a queue that is full at times", {&ask, &answer, 1}},
    {"calls that are left", {&ask_and_leave, &answer}},
    {"calls with rights there and back", {&ask_for_rights, &answer}},
    {"memory", {&send_memory, &ignore, MACH_PORT_QLIMIT_DEFAULT, true}},
    {"memory to a queue that is full at times", {&send_memory, &ignore, 1, true}},
    {"arrays of rights", {&send_arrays, &ignore}},
    {"arrays of rights that are taken out", {&send_arrays, &take_arrays}},
    {"calls with arrays behind other rights", {&ask_with_arrays, &answer}},
    {"an immovable right", {&send_immovable, &answer}},
    {"a death", {&see_death, &end_soon}},
    {"a death while there is no room", {&see_death_and_room, &end_soon, 1}},
    {"one of several deaths", {&watch_deaths, &end_soon}},
    {"the end of all senders", {&see_no_senders, &ignore}},
    {"the return of a receive right", {&get_back, &ignore}},
    {"the end of a send-once right", {&see_end_of_once, &ignore}},
    {"messages of a set", {&receive_from_set, &send_back}},
    {"a right for a third space", {&give_to_a_space, &ignore}},
    {"a server with connections",
     {.client = &ask_for_sums,
      .server = &serve_sums,
      .points = kernel::fault_plan::all & ~losing_a_reply}},
};

}  // namespace

TEST_CASE("no fault leaves a task waiting, or rights, ports and memory out of balance" *
          with_faults) {
  for (const named_dialogue& each : dialogues) {
    const std::string name = each.name;
    CAPTURE(name);
    CHECK(sweep_faults(each.of) > 4);
  }
}

TEST_CASE("nor do several faults by chance" * with_faults) {
  test::play_seeds(100, [](std::uint64_t seed) {
    CAPTURE(seed);
    for (const named_dialogue& each : dialogues) {
      const std::string name = each.name;
      CAPTURE(name);
      draw_faults(each.of, seed);
    }
  });
}

}  // namespace kedge::mach
