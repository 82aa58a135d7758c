// Implements explore().
#include "kedge/tools/harness/explore.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {
namespace {

struct seed_range {
  std::uint64_t first = 1;
  std::uint64_t last = 0;
};

// What sometimes() has been asked, by its text and place.
struct claims {
  struct claim {
    bool is_true = false;
    std::string place;
  };
  std::map<std::string, claim, std::less<>> all;
};
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
  if (many == nullptr) return {1, options.seeds};
  const std::string_view text(many);
  const std::size_t dots = text.find("..");
  if (dots == std::string_view::npos) return {1, to_number(text, "KEDGE_SEEDS")};
  const seed_range range{to_number(text.substr(0, dots), "KEDGE_SEEDS"),
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

outcome run_seed(const std::function<void(world&)>& test, std::uint64_t seed, bool tells) {
  world w(seed);
  std::string failed;
  failed_check = &failed;
  try {
    test(w);
    w.finish();
  } catch (const failure&) {
    failed_check = nullptr;
    throw;
  } catch (const std::exception& e) {
    failed_check = nullptr;
    throw failure(w.report(e.what()));
  }
  failed_check = nullptr;
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

}  // namespace

void world_state::note_sometimes(std::string_view what, bool is_true, std::source_location at) {
  if (claims_now == nullptr) return;
  auto& claim = claims_now->all[std::string(what)];
  claim.is_true |= is_true;
  claim.place = std::string(at.file_name()) + ":" + std::to_string(at.line());
}

void note_failed_check(std::string_view what) {
  if (failed_check != nullptr && failed_check->empty()) *failed_check = what;
}

void explore(const std::function<void(world&)>& test, exploration_options options) {
  const seed_range seeds = seeds_of(options);
  const char* const twice = std::getenv("KEDGE_TWICE");
  const bool runs_twice = options.twice || (twice != nullptr && std::strcmp(twice, "0") != 0);
  claims asked;
  claims_now = &asked;
  struct restore {
    ~restore() { claims_now = nullptr; }
  } const at_end;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    const outcome first = run_seed(test, seed, runs_twice);
    if (!runs_twice) continue;
    const outcome second = run_seed(test, seed, true);
    if (first.fingerprint != second.fingerprint) {
      throw failure("FAILED: NOT REPRODUCIBLE: two runs of seed " + std::to_string(seed) +
                    " differ\n" + first_difference(first.story, second.story));
    }
  }
  if (seeds.first == seeds.last) return;
  for (const auto& [what, claim] : asked.all) {
    if (claim.is_true) continue;
    throw failure("FAILED: NEVER SEEN in " + std::to_string(seeds.last - seeds.first + 1) +
                  " runs: " + what + " (" + claim.place + ")");
  }
}

}  // namespace kedge::harness
