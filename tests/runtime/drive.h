// drive: runs a loop until no task is ready, without a wait.
#pragma once

#include "kedge/runtime/loop.h"

namespace kedge {

inline void drive(loop& l) {
  while (l.step()) {
  }
}

}  // namespace kedge
