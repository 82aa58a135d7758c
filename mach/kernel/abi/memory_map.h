// What the system says of this process's memory (/proc/self).
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
  ino_t file = 0;  // 0: none
};

// Those that the range meets, in order of addresses, and if `next` the one behind it, too. Nothing
// if the system does not tell. Throws std::bad_alloc.
std::vector<mapping> mappings(std::uint64_t start, std::uint64_t end, bool next = false);

// Of each page of a private mapping, whether it was written since it was mapped. False: the system
// does not tell. Throws std::bad_alloc.
bool find_written_pages(std::uint64_t start, std::uint64_t end, std::vector<bool>& written);

}  // namespace kedge::mach::kernel
