// run_in_batches(): runs seeds in child processes, a batch in each, so that a crash or a hang ends
// no other batch, and several cores are used.
//
// The seeds of a batch run in order, and a failure ends it. Of several failures the one of the
// least seed counts, so that the result does not depend on the number of jobs.
//
// Threads: one, and no other may run: a child is a fork.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace kedge::harness {

struct seed_range {
  std::uint64_t first = 1;
  std::uint64_t last = 0;
  std::uint64_t size() const noexcept { return last - first + 1; }
};

// What sometimes() has been asked, by its text.
struct claim {
  bool is_true = false;
  std::string place;
};
using claims = std::map<std::string, claim, std::less<>>;

struct batch_options {
  unsigned jobs = 1;            // children at a time
  unsigned seconds = 60;        // a seed that takes longer hangs
  bool shows_progress = false;  // on standard error
};

// Runs run(seed) for each seed. It returns the text of a failure, or nothing. A child that a signal
// ends calls describe_crash(what, seed) first, if that is still possible. Adds to `asked` what the
// seeds have claimed, which `asked` of the child has. Returns the failure. Throws std::system_error
// if there can be no child.
std::optional<std::string> run_in_batches(
    const seed_range& seeds, const batch_options& options, claims& asked,
    const std::function<std::optional<std::string>(std::uint64_t seed)>& run,
    const std::function<std::string(const std::string& what, std::uint64_t seed)>& describe_crash);

}  // namespace kedge::harness
