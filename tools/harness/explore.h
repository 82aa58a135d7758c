// explore(): runs a test in many worlds, one for each seed.
//
//     TEST_CASE("a lock dies with its holder") {
//       harness::explore([](harness::world& w) { ... });
//     }
//
// The environment chooses: KEDGE_SEED runs one seed, KEDGE_SEEDS=A..B these, KEDGE_SEEDS=N the
// first N. A seed that fails ends the exploration, by an exception whose text is the report. With
// doctest a failed CHECK fails its seed, if the test includes <kedge/harness/doctest.h>.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kedge/tools/harness/world.h"

namespace kedge::harness {

struct exploration_options {
  std::uint64_t seeds = 200;
  // Runs each seed twice, and fails if the two runs differ. The environment's KEDGE_TWICE=1 sets
  // it.
  bool twice = false;
};

// Throws `failure`, and std::invalid_argument if the environment names no seeds.
void explore(const std::function<void(world&)>& test, exploration_options options = {});

// For a test framework: a check has failed in the present run.
void note_failed_check(std::string_view what);

}  // namespace kedge::harness
