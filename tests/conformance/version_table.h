// What newer kernels do differently (SEMANTICS, part 3), as far as it shows in one result: for each
// tag of a `#v` line, what an operation's result must be in the macOS 15 profile.
#pragma once

#include <mach/mach.h>

#include <string>
#include <string_view>
#include <vector>

namespace conformance {

class player;
struct trace_line;

// The recordings' tags go by what an operation says and gave, and miss some that the table calls
// for. Adds `tiny-receive-buffer` where a recorded trailer is longer than the buffer: the table
// says that it is cut. The state differs from the operation on (true) where
// - `ssize` ends a message among its descriptors, or an unknown descriptor follows a right or
// memory
//   that cannot be taken: descriptor-checks-first;
// - a port leaves one of several sets, but is told that it was not in it. The table does not know
//   of that: 11417 says OK.
// The line is an operation, not played yet. Throws bad_script.
bool complete_tags(trace_line& line, player& before);

class newer_result {
 public:
  // Looks at what the operation's names stand for, before it is played; changes nothing. Throws
  // bad_script.
  newer_result(const std::vector<std::string>& tags, std::string_view operation, player& before);

  // Whether the result is what the table says for the tags; where the table says nothing of such an
  // operation, the recorded one.
  bool allows(std::string_view recorded, std::string_view got) const;

 private:
  bool allows(std::string_view tag, std::string_view recorded, std::string_view got) const;
  bool allows_flavor(std::string_view recorded, std::string_view got) const;
  bool allows_cut_trailer(std::string_view recorded, std::string_view got) const;
  std::string with_voucher_first(std::string_view recorded) const;
  std::string_view value(std::string_view key) const;

  std::vector<std::string> tags_;
  std::vector<std::string_view> words_;  // of the operation, without the task
  mach_port_type_t type_ = 0;  // of the first name: the destination, of the one received from
  bool in_set_ = false;
};

}  // namespace conformance
