// The traces of the archive in the tree.
#pragma once

#include <string>
#include <vector>

namespace conformance {

struct given_trace {
  std::string name;  // "traces/directed/01_rights.txt"
  std::string text;
};

// All of them, by name. For a test whose data they are; throws std::runtime_error if they are not
// there.
std::vector<given_trace> read_given_traces();

}  // namespace conformance
