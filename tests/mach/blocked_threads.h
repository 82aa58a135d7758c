// wait_for_blocked(): waits until threads are blocked in the kernel at a port, for tests that act
// while a call blocks.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <thread>

#include "kedge/mach/kernel/snapshot.h"

namespace kedge::mach {

struct blocked_threads {
  std::uint32_t senders = 0;
  std::uint32_t receivers = 0;
  friend bool operator==(blocked_threads, blocked_threads) = default;
};

// Those of all ports of the process.
inline blocked_threads count_blocked() {
  blocked_threads all;
  for (const kernel::snapshot::port& p : kernel::take_snapshot().ports) {
    all.senders += p.waiting_senders;
    all.receivers += p.waiting_receivers;
  }
  return all;
}
inline void wait_for_blocked(blocked_threads wanted) {
  while (count_blocked() != wanted) std::this_thread::yield();
}

}  // namespace kedge::mach
