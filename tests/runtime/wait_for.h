// wait_for, run_for: tasks that end when a gate opens, and after a number of turns.
#pragma once

#include <string>

#include "gate.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace kedge {

// Appends 'v' to `out` once the gate has opened, or `letter` if the task ends before.
inline task<> wait_for(gate& g, std::string& out, char letter) {
  mark end(out, letter);
  co_await g.wait();
  end.letter = 'v';
}

// Yields `turns` times.
inline task<> run_for(int turns) {
  for (int i = 0; i < turns; ++i) co_await yield();
}

}  // namespace kedge
