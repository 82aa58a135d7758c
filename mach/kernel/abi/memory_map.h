// mappings(), find_written_pages(): what Linux reports about this process's memory (/proc/self).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace kedge::mach::kernel {

struct mapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  int protection = 0;  // PROT_*
  bool shared = false;
  std::uint64_t offset = 0;  // in the file
  dev_t device = 0;
  ino_t file = 0;  // 0: anonymous memory
};

// Returns the mappings that overlap [start, end), in order of addresses. With `next`, also the
// first one behind the range. Empty if /proc/self/maps cannot be read. Throws std::bad_alloc.
std::vector<mapping> mappings(std::uint64_t start, std::uint64_t end, bool next = false);

// The same, cut off at the ends of the range.
std::vector<mapping> mappings_within(std::uint64_t start, std::uint64_t end);

// Sets, for each page of a private mapping, whether it was written to since it was mapped. Returns
// false if /proc/self/pagemap cannot be read. Throws std::bad_alloc.
bool find_written_pages(std::uint64_t start, std::uint64_t end, std::vector<bool>& written);

}  // namespace kedge::mach::kernel
