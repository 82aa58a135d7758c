// Random scripts: recorded traces with lines changed, moved and mixed. Whatever a script does, the
// kernel must survive it, and keep nothing of its tasks when they have ended. ASan finds other
// faults.
//
// KEDGE_SEED is the first seed, KEDGE_SOAK_SECONDS how long to go on (tools/dev soak scripts).
// A run without it plays fewer by KEDGE_SEED_DIVISOR.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "given_traces.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/kernel/snapshot.h"
#include "player.h"
#include "script.h"
#include "tests/seeds.h"
#include "trace.h"

namespace {

using conformance::given_trace;
using kedge::mach::kernel::kernel_profile;

constexpr std::uint64_t scripts_of_a_run = conformance::is_slow ? 25 : 100;
constexpr std::size_t lines_of_a_script = 120;

class random_script {
 public:
  random_script(const std::vector<given_trace>& traces, std::uint64_t seed)
      : traces_(traces), random_(seed) {}

  std::vector<std::string> lines() {
    std::vector<std::string> made = operations_of(any_trace());
    const bool is_mixed = one_in(4);
    const std::size_t changes = 1 + below(is_mixed ? 2 * made.size() + 1 : 20);
    for (std::size_t left = changes; left > 0 && !made.empty(); --left) change(made, is_mixed);
    made.insert(made.begin(), "tasks " + std::to_string(1 + below(5)));
    return made;
  }

 private:
  std::size_t below(std::size_t end) { return random_() % end; }
  bool one_in(std::size_t count) { return below(count) == 0; }
  template <typename List>
  std::string any(const List& list) {
    return std::string(list[below(list.size())]);
  }
  const given_trace& any_trace() { return traces_[below(traces_.size())]; }

  static std::vector<std::string> operations_of(const given_trace& trace) {
    std::vector<std::string> operations;
    for (conformance::trace_line& line : conformance::read_trace(trace.text)) {
      if (operations.size() == lines_of_a_script) break;
      if (line.what != conformance::trace_line::kind::operation) continue;
      operations.push_back(std::move(line.text));
    }
    return operations;
  }

  void change(std::vector<std::string>& lines, bool is_mixed) {
    std::string& line = lines[below(lines.size())];
    switch (is_mixed ? 0 : below(8)) {
      case 0: {
        const std::vector<std::string> others = operations_of(any_trace());
        if (!others.empty()) line = any(others);
        break;
      }
      case 1:
        std::swap(line, lines[below(lines.size())]);
        break;
      case 2:
        lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(below(lines.size())),
                     std::string(line));
        break;
      case 3:
        lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(below(lines.size())));
        break;
      default:
        change_part(line);
        break;
    }
  }

  // Replaces a name, number or word by another of its kind.
  void change_part(std::string& line) {
    const auto is_part = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
    };
    std::vector<std::pair<std::size_t, std::size_t>> parts;
    for (std::size_t at = 0; at < line.size();) {
      std::size_t end = at;
      while (end < line.size() && is_part(line[end])) ++end;
      if (end > at) parts.emplace_back(at, end - at);
      at = end + 1;
    }
    const auto [at, size] = parts[below(parts.size())];
    const std::string_view part = std::string_view(line).substr(at, size);
    // Lengths of memory stay small, so that copying does not take all the time.
    const bool is_length = at >= 4 && std::string_view(line).substr(0, at).ends_with("ool:");
    line.replace(at, size, other(part, is_length));
  }

  std::string other(std::string_view part, bool is_length) {
    static constexpr std::array<std::string_view, 15> dispositions{"none",
                                                                   "move_receive",
                                                                   "move_send",
                                                                   "move_send_once",
                                                                   "copy_send",
                                                                   "make_send",
                                                                   "make_send_once",
                                                                   "copy_receive",
                                                                   "dispose_send",
                                                                   "dispose_receive",
                                                                   "0",
                                                                   "15",
                                                                   "27",
                                                                   "31",
                                                                   "255"};
    static constexpr std::array<std::string_view, 7> rights{
        "send", "receive", "send_once", "port_set", "dead_name", "labelh", "6"};
    static constexpr std::array<std::string_view, 12> options{
        "send",   "rcv",   "large", "ident", "override", "snotify",
        "strict", "gdesc", "noimp", "x400",  "rvoucher", "x80000000"};
    static constexpr std::array<std::string_view, 24> small{
        "0",  "1",  "2",  "3",  "4",   "5",    "7",    "8",    "12",    "16",    "24",    "28",
        "31", "36", "60", "64", "100", "1023", "4096", "9000", "16383", "16384", "65535", "70000"};
    static constexpr std::array<std::string_view, 8> large{
        "-1", "-2", "-65535", "1048576", "2147483647", "-2147483648", "4294967295", "4294967280"};
    const auto is_in = [part](const auto& list) {
      return std::find(list.begin(), list.end(), part) != list.end();
    };
    const bool is_number = std::all_of(part.begin(), part.end(),
                                       [](char c) { return c == '-' || (c >= '0' && c <= '9'); });
    if (is_number) return is_length || !one_in(4) ? any(small) : any(large);
    if (part == "null" || part == "dead" || part == "bad" ||
        (part[0] == 'p' && std::isdigit(static_cast<unsigned char>(part.back())))) {
      static constexpr std::array<std::string_view, 3> none{"null", "dead", "bad"};
      return one_in(4) ? any(none) : "p" + std::to_string(1 + below(20));
    }
    if (is_in(dispositions)) return any(dispositions);
    if (is_in(rights)) return any(rights);
    if (is_in(options)) return any(options);
    return std::string(part);
  }

  const std::vector<given_trace>& traces_;
  std::mt19937_64 random_;
};

// Plays the lines, except those that break the grammar. Returns how many it played.
std::size_t play(const std::vector<std::string>& lines) {
  conformance::player player;
  std::size_t played = 0;
  for (const std::string& line : lines) {
    try {
      if (line.starts_with("tasks ")) {
        player.create_tasks(std::string_view(line).substr(6));
      } else {
        player.play(line);
      }
      ++played;
    } catch (const conformance::bad_script&) {
      continue;
    }
  }
  return played;
}

// Returns the state of the kernel as text, without make-send counts: those of the ports that the
// kernel serves grow with each task.
std::string kernel_state() {
  kedge::mach::kernel::snapshot now = kedge::mach::kernel::take_snapshot();
  for (auto& port : now.ports) port.make_send_count = 0;
  return to_string(now);
}

}  // namespace

TEST_CASE("a random script leaves nothing in the kernel when its tasks have ended") {
  using clock = std::chrono::steady_clock;
  const std::vector<given_trace> traces =
      conformance::read_given_traces(conformance::trace_kind::mach);
  const std::uint64_t first = test::number_of("KEDGE_SEED", 1);
  const std::uint64_t seconds = test::number_of("KEDGE_SOAK_SECONDS", 0);
  const auto end = clock::now() + std::chrono::seconds(seconds);
  const std::string before = kernel_state();
  std::uint64_t seed = first;
  std::size_t played = 0;
  const std::uint64_t some = scripts_of_a_run / test::number_of("KEDGE_SEED_DIVISOR", 1);
  const auto goes_on = [&] { return seconds != 0 ? clock::now() < end : seed < first + some; };
  for (; goes_on(); ++seed) {
    // If the process dies, the last number printed is the seed that killed it.
    if (seconds != 0) std::fprintf(stderr, "\r%llu ", static_cast<unsigned long long>(seed));
    set_kernel_profile(seed % 2 == 0 ? kernel_profile::macos11 : kernel_profile::macos15);
    const std::vector<std::string> lines = random_script(traces, seed).lines();
    played += play(lines);
    const std::string after = kernel_state();
    if (after == before) continue;
    std::string script;
    for (const std::string& line : lines) script += line + "\n";
    FAIL("seed " << seed << ":\n" << script << "leaves:\n" << after);
  }
  CHECK(played > 10 * (seed - first));
  if (seconds != 0) MESSAGE("seeds " << first << " to " << (seed - 1) << ", nothing left");
}
