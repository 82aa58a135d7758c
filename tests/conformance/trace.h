// A trace as it is written: its lines, and for each operation the result that was recorded.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "script.h"

namespace conformance {

struct trace_line {
  enum class kind { comment, tasks, operation };
  kind what = kind::comment;
  std::string text;  // as it stands there
  int number = 0;    // in the file, from 1
  // Of an operation; none in a script that was not played yet.
  std::optional<std::string> result;
  // Version tags: what newer kernels do differently here; one with `!`, from here on.
  std::vector<std::string> tags;
  bool ends_comparison = false;
};

std::vector<trace_line> read_trace(std::string_view text);

// Does something with a line: a bad_script is told with the line's number.
template <typename Action>
void at_line(const trace_line& line, Action&& what) {
  try {
    what();
  } catch (const bad_script& problem) {
    throw bad_script("line " + std::to_string(line.number) + ": " + problem.what());
  }
}

}  // namespace conformance
