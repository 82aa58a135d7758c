// registration_slot: one kernel registration of a loop, shared by the registrations that hold it.
// For the registration's own files: a user of a registration sees none of it.
//
// Threads: the loop's thread only.
#pragma once

#include <cstdint>

#include "kedge/runtime/base/list.h"

namespace kedge {

class listener;
class registration;
class registration_table;
enum class sharing : bool;

// One registration. Lives until its last hold is given up, which may be after the table's end, and
// until its removal from the kernel is submitted.
struct registration_slot {
  enum class stage : unsigned char {
    adding,      // its addition is pending
    registered,  // its addition was submitted
    refused,     // the kernel has answered with `refusal`
    fd_closed,   // an fd that was closed: not in the table
  };

  registration_table* table = nullptr;             // null: the loop is gone
  listener* first = nullptr;                       // the latest linked one
  const registration* linked_by = nullptr;         // the hold that linked `first`, if exclusive
  base::list_link<registration_slot> change = {};  // of the pending addition or deletion
  std::uint64_t ident = 0;
  std::uint32_t index = 0;
  std::uint32_t holds = 1;
  std::uint32_t fflags = 0;
  int refusal = 0;  // an errno
  std::int16_t filter = 0;
  sharing mode{};
  stage at = stage::adding;
  bool ready = false;
  bool ended = false;     // the last event had EV_EOF
  bool marked = false;    // the last event had NOTE_OOB
  std::int64_t data = 0;  // of the last event
};

}  // namespace kedge
