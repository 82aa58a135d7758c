#include "comparison.h"

#include "player.h"
#include "trace.h"
#include "version_table.h"

namespace conformance {

using kedge::mach::kernel::kernel_profile;

std::optional<difference> first_difference(std::string_view trace, kernel_profile profile) {
  player playing;
  for (trace_line& line : read_trace(trace)) {
    if (line.what == trace_line::kind::tasks) {
      playing.create_tasks(std::string_view(line.text).substr(6));
    } else if (line.what == trace_line::kind::operation) {
      const bool newer = profile == kernel_profile::macos15;
      if (newer && (line.ends_comparison || complete_tags(line, playing))) return std::nullopt;
      std::optional<newer_result> expected;
      if (newer && !line.tags.empty()) expected.emplace(line.tags, line.text, playing);
      const std::string got = playing.play(line.text);
      if (!line.result) continue;
      if (expected ? !expected->allows(*line.result, got) : got != *line.result) {
        return difference{line.number, line.text, *line.result, got, line.tags};
      }
    }
  }
  return std::nullopt;
}

}  // namespace conformance
