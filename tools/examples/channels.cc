// channels: one task serves many connections, each with a port of its own, through a port set.
//
// The tag with which a port was inserted says whose message has come, so the task needs no table of
// names. The set serves its members in turn: no client can keep the others out.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

kedge::task<> serve(std::vector<mach::receive_right> channels) {
  mach::port_set all = mach::port_set::make();
  for (std::uint64_t number = 0; number < channels.size(); ++number) {
    all.insert(channels[number], number);
  }
  for (std::size_t open = channels.size(); open != 0;) {
    const mach::received m = (co_await all.receive()).value();
    const std::string_view word = m.text();
    std::printf("channel %d says %.*s\n", int(m.tag()), int(word.size()), word.data());
    if (word != "bye") continue;
    all.remove(channels[m.tag()]);
    --open;
  }
}

kedge::task<> talk(mach::send_right channel, std::vector<const char*> words) {
  for (const char* const word : words) {
    (co_await mach::send(channel, mach::message(0, word))).value();
  }
}

int main() {
  kedge::loop loop;
  std::vector<mach::receive_right> channels;
  for (int i = 0; i < 2; ++i) channels.push_back(mach::receive_right::make());
  loop.spawn(talk(channels[0].make_send(), {"one", "two", "three", "bye"}));
  loop.spawn(talk(channels[1].make_send(), {"uno", "bye"}));
  loop.run(serve(std::move(channels)));
}
