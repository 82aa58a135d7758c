// Reads traces: lines of operations, results (=), version tags (#v) and comments.
#include "trace.h"

#include <algorithm>

#include "script.h"

namespace conformance {

std::vector<trace_line> read_trace(std::string_view text) {
  std::vector<trace_line> lines;
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::size_t operation = none;  // the last operation
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.empty()) continue;
    if (line.starts_with("#v")) {
      if (operation == none) continue;  // a tag before the first operation
      const bool ends = line.starts_with("#v!");
      if (ends) lines[operation].ends_comparison = true;
      lines[operation].tags.emplace_back(
          line.substr(std::min(line.size(), std::size_t{ends ? 4u : 3u})));
    } else if (line[0] == '=') {
      if (operation != none) lines[operation].result = line;
    } else {
      trace_line next;
      next.text = line;
      next.number = number;
      if (line.starts_with("tasks ")) {
        next.what = trace_line::kind::tasks;
      } else if (line[0] != '#') {
        next.what = trace_line::kind::operation;
      }
      lines.push_back(std::move(next));
      if (lines.back().what == trace_line::kind::operation) operation = lines.size() - 1;
    }
  }
  return lines;
}

}  // namespace conformance
