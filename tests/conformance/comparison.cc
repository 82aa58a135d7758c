// Compares a trace line by line, and stops at the first difference.
#include "comparison.h"

#include "player.h"
#include "trace.h"
#include "version_table.h"

namespace conformance {

using kedge::mach::kernel::kernel_profile;

std::optional<difference> first_difference(std::string_view trace, kernel_profile profile) {
  constexpr const char* nothing = "= (the trace has no result)";
  player playing;
  std::optional<difference> found;
  bool ended = false;
  for (trace_line& line : read_trace(trace)) {
    at_line(line, [&] {
      if (line.what == trace_line::kind::tasks) {
        playing.create_tasks(std::string_view(line.text).substr(6));
        return;
      }
      if (line.what != trace_line::kind::operation) return;
      const bool newer = profile == kernel_profile::macos15;
      ended = newer && (line.ends_comparison || complete_tags(line, playing));
      if (ended) return;
      std::optional<newer_result> expected;
      if (newer && !line.tags.empty()) expected.emplace(line.tags, line.text, playing);
      const std::string got = playing.play(line.text);
      const std::string recorded = line.result.value_or(nothing);
      if (expected ? !expected->allows(recorded, got) : got != recorded) {
        found = difference{line.number, line.text, recorded, got, line.tags};
      }
    });
    if (found || ended) break;
  }
  return found;
}

}  // namespace conformance
