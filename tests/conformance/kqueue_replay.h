// kqueue_replay: plays a kqueue's trace in a process of its own (kqueue_player.h), which may crash
// or hang without harm.
#pragma once

#include <string>
#include <vector>

#include "trace.h"

namespace conformance {

struct kqueue_run {
  // One for each operation. Fewer if the process has ended before.
  std::vector<std::string> results;
  // Why it has ended: "" after the last operation, or "an alarm after 20 s", "signal 11".
  std::string end;
};

// Returns whether a trace is about kqueues, by its first operation.
bool is_kqueue_trace(const std::vector<trace_line>& lines);

// Forks. Requires that the process has no other thread. Throws bad_script.
kqueue_run play_kqueue_trace(const std::vector<trace_line>& lines);

}  // namespace conformance
