// A sender without manners against a receiving loop: arbitrary headers, descriptors, rights, memory
// and ids, from seeds. The service answers a well-formed client all the while, and is left with no
// right and no memory.
#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <random>
#include <utility>

#include "hostile_sender.h"
#include "kedge/mach/call.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "mapped_memory.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

constexpr mach_msg_id_t goodbye = 4712;

class seeded_source {
 public:
  explicit seeded_source(std::uint32_t seed) : random_(seed) {}
  std::uint32_t below(std::uint32_t bound) { return word() % bound; }
  std::uint32_t word() { return static_cast<std::uint32_t>(random_()); }
  bool one_in(std::uint32_t times) { return below(times) == 0; }

 private:
  std::mt19937 random_;
};

// Reads a message in a way that depends on the seed.
void read_something(received& m, seeded_source& source) {
  static_cast<void>(m.read<std::uint64_t>(source.below(100)));
  static_cast<void>(m.text());
  message_reader reader = m.reader();
  while (reader.read<std::uint32_t>()) {
    if (source.one_in(4) && !reader.counted()) break;
  }
  CHECK(take_apart(m, [&](std::uint32_t kinds) { return source.below(kinds); }));
}

task<> serve(receive_right requests, std::uint32_t seed, int& answered) {
  seeded_source source(seed);
  for (;;) {
    result<received> next = co_await requests.receive();
    if (!next) co_return;  // a hostile message must not cause this: `answered` tells
    received& m = *next;
    if (m.id() == goodbye) co_return;
    const auto number = m.read<std::uint32_t>();
    if (m.id() == hostile_question && number == 7u && m.rights() == 0) ++answered;
    read_something(m, source);
    static_cast<void>(reply(m, message(m.id(), std::uint32_t{8})));
  }
}

task<> ask(const send_right& service, int& replies) {
  const auto r = co_await call(service, message(hostile_question, std::uint32_t{7}));
  if (r && r->read<std::uint32_t>() == 8u) ++replies;
}

// On Darwin a process is one task, and the sender would destroy the service's rights.
const auto several_tasks = doctest::skip(!kernel::has_many_tasks());

}  // namespace

TEST_CASE("no message ends a service, keeps it from its clients, or leaves anything behind" *
          several_tasks) {
  constexpr std::uint32_t runs = 20;
  constexpr int messages = 400;
  for (std::uint32_t seed = 1; seed <= runs; ++seed) {
    CAPTURE(seed);
    space of_service;
    const scoped_space inside(of_service);
    const std::size_t before = names_in_space();
    {
      loop l;
      receive_right requests = receive_right::make();
      const send_right to_service = requests.make_send();
      std::optional<space> of_sender(std::in_place);
      seeded_source source(seed);
      hostile_sender<seeded_source> sender(*of_sender, of_sender->give(requests.make_send()));
      int answered = 0, replies = 0, asked = 0;
      l.spawn(serve(std::move(requests), seed, answered));
      for (int i = 0; i < messages; ++i) {
        sender.send(source);
        if (i % 20 == 0) {
          l.spawn(ask(to_service, replies));
          ++asked;
        }
        l.poll();
      }
      settle(l);
      CHECK(replies == asked);
      CHECK(answered >= asked);
      l.spawn([](const send_right& to) -> task<> {
        static_cast<void>(co_await send(to, message(goodbye)));
      }(to_service));
      settle(l);
      CHECK(l.size() == 0);
      of_sender.reset();
    }
    CHECK(names_in_space() == before);
  }
}

TEST_CASE("hostile messages that are dropped unread leave no memory behind" * several_tasks) {
  space of_service;
  const scoped_space inside(of_service);
  const receive_right requests = receive_right::make(1000);
  mapped first;
  for (std::uint32_t seed = 100; seed < 140; ++seed) {
    {
      space of_sender;
      seeded_source source(seed);
      hostile_sender<seeded_source> sender(of_sender, of_sender.give(requests.make_send()));
      for (int i = 0; i < 300; ++i) sender.send(source);
    }
    loop l;
    l.run([](const receive_right& port) -> task<> {
      while (port.status().mps_msgcount != 0) {
        static_cast<void>(co_await port.receive().telling_losses());  // the last may be one
      }
    }(requests));
    // The first rounds make what is kept: blocks of the recycler and the heap, the loop's own.
    if (seed == 109) first = mapped_memory();
  }
  const mapped last = mapped_memory();
  CHECK(last.regions <= first.regions + 20);
  CHECK(last.bytes <= first.bytes + (512 << 10));
}

}  // namespace kedge::mach
