// take(): takes the message at the head of a port's queue, which must have one.
#pragma once

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstddef>

#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/try_receive.h"

namespace kedge::mach {

inline received take(const receive_right& port) {
  received m;
  std::size_t expected = 0;
  REQUIRE(try_receive(port.name(), expected, m) == MACH_MSG_SUCCESS);
  return m;
}

}  // namespace kedge::mach
