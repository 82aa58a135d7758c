// trace: a trace as it is written, its lines, each operation with its recorded result.
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
  std::string text;  // the whole line
  int number = 0;    // in the file, from 1
  // The recorded result of an operation. A script that was not played has none.
  std::optional<std::string> result;
  // Version tags: what newer kernels do differently in this operation. A tag with `!` sets
  // ends_comparison: the state of newer kernels differs after the operation.
  std::vector<std::string> tags;
  bool ends_comparison = false;
};

// A result that is not as it should be.
struct difference {
  int line = 0;
  std::string operation;
  std::string expected;
  std::string got;
  std::vector<std::string> tags;  // by which the version table changes the expected result
};

std::vector<trace_line> read_trace(std::string_view text);

// Calls `action`. Adds the number of the line to a bad_script that it throws.
template <typename Action>
void at_line(const trace_line& line, Action&& action) {
  try {
    action();
  } catch (const bad_script& problem) {
    throw bad_script("line " + std::to_string(line.number) + ": " + problem.what());
  }
}

}  // namespace conformance
