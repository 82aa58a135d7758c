// A fuzz target: a sender whose input says what it sends to a service of the Mach library, header,
// descriptors, rights and memory included. The service must answer its well-formed clients, release
// no right twice, and be left with no right.
#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "byte_source.h"
#include "kedge/mach/call.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "tests/mach/hostile_sender.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using fuzz::byte_source;
using fuzz::require;

constexpr std::size_t most_messages = 32;

std::uint32_t names_here() {
  ipc_info_space_basic_t info{};
  require(mach_port_space_basic_info(mach_task_self(), &info) == KERN_SUCCESS, "no space info");
  return info.iisb_table_inuse;
}

void read_to_the_end(received& m) {
  static_cast<void>(m.text());
  message_reader reader = m.reader();
  while (reader.counted()) {
  }
}

task<> serve(receive_right requests) {
  for (;;) {
    result<received> next = co_await requests.receive();
    require(next.has_value(), "a message has ended the service");
    read_to_the_end(*next);
    unsigned turn = static_cast<unsigned>(next->id());
    require(take_apart(*next, [&](unsigned kinds) { return ++turn % kinds; }), "other bytes");
    static_cast<void>(reply(*next, message(next->id(), std::uint32_t{8})));
  }
}

task<> ask(send_right service, bool& answered) {
  const auto r = co_await call(service, message(hostile_question, std::uint32_t{7}));
  answered = r && r->read<std::uint32_t>() == 8u;
}

void play(byte_source input) {
  space of_service;
  const scoped_space inside(of_service);
  const kernel::task service = kernel::task_of_thread();
  kernel::set_guard_behaviour(service, kernel::guard_behaviour::record);
  const std::uint32_t before = names_here();
  {
    loop l;
    receive_right requests = receive_right::make();
    const send_right to_service = requests.make_send();
    std::optional<space> of_sender(std::in_place);
    hostile_sender<byte_source> hostile(*of_sender, of_sender->give(requests.make_send()));
    l.spawn(serve(std::move(requests)));
    for (std::size_t i = 0; i < most_messages && !input.empty(); ++i) {
      hostile.send(input);
      settle(l);
    }
    bool answered = false;
    l.spawn(ask(to_service, answered));
    settle(l);
    require(answered, "a client has no answer");
    of_sender.reset();
    settle(l);
  }
  require(names_here() == before, "the service has other names than before");
  require(kernel::take_guard_exceptions(service).empty(), "a right was released twice");
}

}  // namespace
}  // namespace kedge::mach

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // On Darwin a process is one task, and the sender would destroy the service's rights.
  if (kedge::mach::kernel::has_many_tasks()) kedge::mach::play(fuzz::byte_source({data, size}));
  return 0;
}
