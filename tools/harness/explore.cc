// Implements explore().
#include "kedge/tools/harness/explore.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "kedge/tools/harness/run_context.h"
#include "kedge/tools/harness/seed_batches.h"
#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {
namespace {

constinit thread_local claims* claims_now = nullptr;
constinit thread_local std::string* failed_check = nullptr;

std::uint64_t to_number(std::string_view text, const char* variable) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    throw std::invalid_argument("kedge::harness: " + std::string(variable) + " has \"" +
                                std::string(text) + "\" where a number belongs");
  }
  return number;
}

seed_range seeds_of(const exploration_options& options) {
  if (const char* const one = std::getenv("KEDGE_SEED")) {
    const std::uint64_t seed = to_number(one, "KEDGE_SEED");
    return {seed, seed};
  }
  const char* const many = std::getenv("KEDGE_SEEDS");
  if (many == nullptr && options.seeds == 0) {
    throw std::invalid_argument("kedge::harness: explore() of no seeds");
  }
  if (many == nullptr) return {1, options.seeds};
  const std::string_view text(many);
  const std::size_t dots = text.find("..");
  const seed_range range = dots == std::string_view::npos
                               ? seed_range{1, to_number(text, "KEDGE_SEEDS")}
                               : seed_range{to_number(text.substr(0, dots), "KEDGE_SEEDS"),
                                            to_number(text.substr(dots + 2), "KEDGE_SEEDS")};
  if (range.last < range.first) {
    throw std::invalid_argument("kedge::harness: KEDGE_SEEDS has no seeds: " + std::string(text));
  }
  return range;
}

struct outcome {
  std::uint64_t fingerprint = 0;
  std::string story;
};

constinit world* world_now = nullptr;

outcome run_world(const std::function<void(world&)>& test, std::uint64_t seed, bool tells) {
  world w(seed);
  std::string failed;
  struct scope {
    ~scope() {
      failed_check = nullptr;
      world_now = nullptr;
    }
  } const at_end;
  failed_check = &failed;
  world_now = &w;
  try {
    test(w);
    if (failed.empty()) w.finish();
  } catch (const failure&) {
    // A check that has failed before is the first sign of the fault.
    if (failed.empty()) throw;
  } catch (const std::exception& e) {
    if (failed.empty()) throw failure(w.report(e.what()));
  } catch (...) {
    if (failed.empty()) throw failure(w.report("an exception that is not a std::exception"));
  }
  if (!failed.empty()) throw failure(w.report(failed));
  return {w.fingerprint(), tells ? w.story() : std::string()};
}

// The first line in which the two differ.
std::string first_difference(const std::string& a, const std::string& b) {
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end_a = a.find('\n', begin);
    const std::size_t end_b = b.find('\n', begin);
    const std::string line_a = a.substr(begin, end_a - begin);
    const std::string line_b = b.substr(begin, end_b - begin);
    if (line_a != line_b) return "  first:  " + line_a + "\n  second: " + line_b + "\n";
    if (end_a == std::string::npos) return "  (both tell the same story, by other choices)\n";
    begin = end_a + 1;
  }
}

// Runs the seed, once or twice. Returns the report if it fails.
std::optional<std::string> run_seed(const std::function<void(world&)>& test, std::uint64_t seed,
                                    bool twice) {
  try {
    const outcome first = run_world(test, seed, twice);
    if (!twice) return std::nullopt;
    const outcome second = run_world(test, seed, true);
    if (first.fingerprint == second.fingerprint) return std::nullopt;
    const std::string& name = run_context::current().test;
    return "FAILED " + (name.empty() ? "" : name + ": ") + "NOT REPRODUCIBLE: two runs of seed " +
           std::to_string(seed) + " differ\n" + first_difference(first.story, second.story);
  } catch (const failure& f) {
    return f.what();
  }
}

// Of a process that is about to end, or of a child's that has ended.
std::string describe_crash(const std::string& what, std::uint64_t seed) {
  if (world_now != nullptr) return world_now->report(what);
  const run_context& context = run_context::current();
  return "FAILED " + (context.test.empty() ? "" : context.test + ": ") + what + "\n  seed " +
         std::to_string(seed) + "\nagain:  " + again(seed) + "\n";
}

bool is_set(const char* variable) {
  const char* const text = std::getenv(variable);
  return text != nullptr && std::strcmp(text, "0") != 0;
}

unsigned number_of(const char* variable, unsigned otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? static_cast<unsigned>(to_number(text, variable)) : otherwise;
}

}  // namespace

void world_state::note_sometimes(std::string_view what, bool is_true, std::source_location at) {
  if (claims_now == nullptr) return;
  claim& one = (*claims_now)[std::string(what)];
  one.is_true |= is_true;
  one.place = std::string(at.file_name()) + ":" + std::to_string(at.line());
}

void note_failed_check(std::string_view what) {
  if (failed_check != nullptr && failed_check->empty()) *failed_check = what;
}

void expect(bool condition, std::string_view what, std::source_location at) {
  if (condition) return;
  const std::string_view file = at.file_name();
  note_failed_check("EXPECTED: " + std::string(what) + ", " +
                    std::string(file.substr(file.rfind('/') + 1)) + ":" +
                    std::to_string(at.line()));
}

void name_test(std::string_view name) {
  run_context::current().test = name;
}

void explore(const std::function<void(world&)>& test, exploration_options options) {
  const seed_range seeds = seeds_of(options);
  const bool twice = options.twice || is_set("KEDGE_TWICE");
  const unsigned jobs = number_of("KEDGE_JOBS", 1);
  const batch_options how{.jobs = jobs,
                          .seconds = std::max(number_of("KEDGE_HANG_SECONDS", 60), 1u),
                          .shows_progress = ::isatty(STDERR_FILENO) != 0};
  run_context& context = run_context::current();
  context.first = seeds.first;
  context.last = seeds.last;
  context.is_full = is_set("KEDGE_FULL");
  claims asked;
  claims_now = &asked;
  struct scope {
    ~scope() {
      claims_now = nullptr;
      run_context::current().first = run_context::current().last = 0;
    }
  } const at_end;

  std::optional<std::string> failed;
  const auto run = [&](std::uint64_t seed) { return run_seed(test, seed, twice); };
  if (options.forks && jobs != 0) {
    failed = run_in_batches(seeds, how, asked, run, describe_crash);
  } else {
    for (std::uint64_t left = seeds.size(); left > 0 && !failed; --left) {
      failed = run(seeds.last - left + 1);
    }
  }
  if (failed) throw failure(*failed);
  if (seeds.first == seeds.last) return;
  for (const auto& [what, one] : asked) {
    if (one.is_true) continue;
    throw failure("FAILED " + (context.test.empty() ? "" : context.test + ": ") + "NEVER SEEN in " +
                  std::to_string(seeds.size()) + " runs: " + what + " (" + one.place + ")");
  }
}

}  // namespace kedge::harness
