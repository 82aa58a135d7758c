// options: the command line of the demo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kedge/runtime/result.h"

struct options {
  static constexpr unsigned max_workers = 64;
  static constexpr std::size_t max_batch = 256 * 1024;

  unsigned workers = 4;
  unsigned kill = 0;              // how many workers are destroyed midway
  std::size_t batch = 32 * 1024;  // bytes per batch, at most
  std::uint64_t seed = 1;         // of the kill_plan
  std::string file;               // empty: standard input
  bool help = false;
};

extern const char help_text[];

// Returns the options, or one line that says what is wrong with them. Arguments after --help are
// not parsed.
kedge::result<options, std::string> parse(int argc, const char* const* argv);
