// Random programs of tasks, held against rules: nothing leaks, no wait begins in what is cancelled,
// nothing ends before what it holds, the first failure is thrown, and each run is repeatable.
#include "random_program.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "small_stack.h"

namespace {

using kedge::program;

bool fails(const program& p) {
  std::vector<int> trace;
  return !kedge::run_program(p, trace).empty();
}

// KEDGE_SEED runs one seed, as a failing run prints it.
TEST_CASE("10,000 random programs keep the rules, and run twice in the same way") {
  const char* const chosen = std::getenv("KEDGE_SEED");
  const auto first = static_cast<std::uint32_t>(chosen != nullptr ? std::atol(chosen) : 1);
  const std::uint32_t count = chosen != nullptr ? 1 : kedge::sanitized ? 1'000 : 10'000;
  for (std::uint32_t seed = first; seed != first + count; ++seed) {
    const program p = kedge::make_program(seed);
    std::vector<int> once, twice;
    const std::string broken = kedge::run_program(p, once);
    if (!broken.empty()) {
      const program least = kedge::shrink(p, fails);
      FAIL_CHECK("KEDGE_SEED=" << seed << ": " << broken << "\n" << kedge::to_string(least));
      return;
    }
    CAPTURE(seed);
    REQUIRE(kedge::run_program(p, twice).empty());
    REQUIRE(once == twice);
  }
}

}  // namespace
