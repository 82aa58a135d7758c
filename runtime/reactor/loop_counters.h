// loop_counters: what a loop has done since it was made.
#pragma once

#include <cstdint>

#include "kedge/runtime/reactor/clock.h"

namespace kedge {

struct loop_counters {
  std::uint64_t turns = 0;
  std::uint64_t resumptions = 0;  // of ready waiters: coroutines, branches, chains to destroy
  std::uint64_t waits = 0;        // how often a turn asked the kernel for events
  std::uint64_t events = 0;       // that the kernel reported, those that wake the loop included
  std::uint64_t timers = 0;       // that expired
  std::uint64_t posts = 0;        // that were taken
  // The longest time in which the loop took neither posts nor timers. Measured while a stall_watch
  // watches the loop, else zero: it takes two readings of the clock a turn.
  clock::duration longest_turn{};
};

}  // namespace kedge
