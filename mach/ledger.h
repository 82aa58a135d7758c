// ledger: the rights that the program's objects own in the current space, and where it has got each
// of them. For tests, and for the search for leaks.
//
//     mach::ledger::expect_empty();                                    // at the end of a test
//     std::fputs(mach::ledger::to_string().c_str(), stderr);           // at any time
//
// Only builds of the library without NDEBUG keep it; others have no entries. Objects that name the
// same send right share one entry, with the place of the first. Send rights in a received message
// that were not taken out are entries too. Not among them are other rights in messages, what the
// library keeps for itself, and names that no object of the library owns.
//
// A space (space.h) that ends writes what is left in it to standard error.
// Threads: any.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

namespace kedge::mach {

// Where the program has made or taken a right.
using place = std::source_location;

namespace ledger {

enum class kind : std::uint8_t { send, send_once, receive, port_set };

struct entry {
  mach_port_name_t name = MACH_PORT_NULL;
  kind what = kind::send;
  std::uint64_t objects = 1;  // that share it
  place where;
};

bool is_kept() noexcept;
// Those of the current space, the oldest first. Throws std::bad_alloc.
std::vector<entry> entries();
// The same, a line each. Throws std::bad_alloc.
std::string to_string();
// Throws std::logic_error with to_string() if there is an entry.
void expect_empty();

}  // namespace ledger
}  // namespace kedge::mach
