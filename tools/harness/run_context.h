// run_context: what a report says of the test and the seeds around a world. explore() fills it in.
#pragma once

#include <cstdint>
#include <string>

namespace kedge::harness {

struct run_context {
  std::string test;         // its name; empty: the framework has not said
  std::uint64_t first = 0;  // seeds; 0: the world was made by hand
  std::uint64_t last = 0;
  bool is_full = false;  // reports have all events

  static run_context& current() noexcept {
    static run_context one;
    return one;
  }
};

// The command that runs this seed of the test again.
std::string again(std::uint64_t seed);

}  // namespace kedge::harness
