// drain, settle: drive a loop until there is nothing left to do.
#pragma once

#include "kedge/runtime/loop.h"

namespace kedge {

// Runs the tasks of the loop until they have ended.
inline void drain(loop& l) {
  while (l.size() != 0) l.run_once();
}
// Runs the tasks of the loop until nothing is ready, without a wait.
inline void settle(loop& l) {
  while (l.poll()) {
  }
}

}  // namespace kedge
