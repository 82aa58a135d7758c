// version_table: what newer kernels do differently, as far as it shows in one result. The
// recordings tag an operation whose result has changed (a `#v` line). For each tag the table says
// what the result must be in the macOS 15 profile.
#pragma once

#include <mach/mach.h>

#include <string>
#include <string_view>
#include <vector>

namespace conformance {

class player;
struct trace_line;

// Adds the tags that the recordings miss: they were made from what an operation says and gave. Adds
// `tiny-receive-buffer` where a recorded trailer is longer than the buffer, which the table says is
// cut, and `flavor` where MACH_PORT_SERVICE_THROTTLED is named: the table has 8 for it, Apple's
// headers have 9 (8 is MACH_PORT_GUARD_INFO, which can only be asserted). Returns true if the state
// of newer kernels differs after the operation, because
// - descriptor-checks-first: `ssize` ends a message among its descriptors, or an unknown descriptor
//   follows a right or memory that cannot be taken, or
// - a port leaves one of several sets, and the recorded result says that it was not in it. The
//   table does not list this: 11417 returns OK.
// Requires that `line` is an operation that was not played yet. Throws bad_script.
bool complete_tags(trace_line& line, player& before);

class newer_result {
 public:
  // Reads the types of the names of the operation before it is played. Has no effect on the player.
  // Throws bad_script.
  newer_result(const std::vector<std::string>& tags, std::string_view operation, player& before);

  // Returns true if `got` is what the table says for one of the tags, or, for an operation that the
  // table does not list, the recorded result.
  bool allows(std::string_view recorded, std::string_view got) const;

 private:
  bool allows(std::string_view tag, std::string_view recorded, std::string_view got) const;
  bool allows_flavor(std::string_view recorded, std::string_view got) const;
  bool allows_cut_trailer(std::string_view recorded, std::string_view got) const;
  std::string with_voucher_first(std::string_view recorded) const;
  std::string_view value(std::string_view key) const;

  std::vector<std::string> tags_;
  std::vector<std::string_view> words_;  // of the operation, without the task
  // The type of the first name, of the destination of a message, or of the port that it is received
  // from.
  mach_port_type_t type_ = 0;
  bool in_set_ = false;
};

}  // namespace conformance
