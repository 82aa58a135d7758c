// benchmark: something done n times on a loop, whose cost per time is to be known.
#pragma once

#include <cstdint>
#include <span>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

struct benchmark {
  const char* name;
  const char* what;  // is done n times
  kedge::task<> (*run)(kedge::loop& loop, std::uint64_t n);
};

kedge::task<> await_children(kedge::loop& loop, std::uint64_t n);
kedge::task<> yield_turns(kedge::loop& loop, std::uint64_t n);
kedge::task<> pass_messages(kedge::loop& loop, std::uint64_t n);
kedge::task<> make_round_trips(kedge::loop& loop, std::uint64_t n);

inline constexpr benchmark benchmarks[] = {
    {"child", "await a child task", await_children},
    {"yield", "switch to another task through the ready queue", yield_turns},
    {"message", "a Mach message to another task, which waits for it", pass_messages},
    {"rt", "a round trip of 64 bytes between two tasks over a socket pair", make_round_trips},
};
