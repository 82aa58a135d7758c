// receive_losses: the messages that a receive right or port set has lost, since no task could have
// them.
#pragma once

#include <cstdint>

namespace kedge::mach {

struct receive_losses {
  // The kernel could not copy the message out: the space had no room for its rights, or the process
  // none for its memory.
  std::uint64_t unreadable = 0;
  // Larger than the receiver allowed.
  std::uint64_t too_large = 0;
};

}  // namespace kedge::mach
