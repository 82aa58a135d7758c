// explore(): runs a test in many worlds, one for each seed.
//
//     TEST_CASE("a lock dies with its holder") {
//       harness::explore([](harness::world& w) { ... });
//     }
//
// The environment chooses: KEDGE_SEED runs one seed, KEDGE_SEEDS=A..B these, KEDGE_SEEDS=N the
// first N. A seed that fails ends the exploration, by an exception whose text is the report. With
// doctest a failed CHECK fails its seed, if the test includes <kedge/tools/harness/doctest.h>.
// Without, expect() is there.
//
// The seeds run in child processes, a batch in each, KEDGE_JOBS batches at a time: a crash or a
// hang of a seed is reported like any other failure, and the least seed that fails is the one that
// counts. What a test writes to variables outside of the world stays in the child. With
// KEDGE_JOBS=0, or `forks = false`, all run in this process, as a debugger needs it.
// KEDGE_FULL=1: reports have all events. KEDGE_HANG_SECONDS: a seed that takes longer hangs.
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <string_view>

#include "kedge/tools/harness/world.h"

namespace kedge::harness {

struct exploration_options {
  std::uint64_t seeds = 200;
  // Runs each seed twice, and fails if the two runs differ. The environment's KEDGE_TWICE=1 sets
  // it.
  bool twice = false;
  // Runs the seeds in child processes.
  bool forks = true;
};

// Throws `failure`, and std::invalid_argument if the environment says what makes no sense.
void explore(const std::function<void(world&)>& test, exploration_options options = {});

// Fails the present run, which goes on to its end, if the condition is false. May be called in a
// process of the world too.
void expect(bool condition, std::string_view what,
            std::source_location at = std::source_location::current());

// For a test framework: a check has failed in the present run.
void note_failed_check(std::string_view what);
// Likewise: the test that runs now, for reports; empty: none.
void name_test(std::string_view name);

}  // namespace kedge::harness
