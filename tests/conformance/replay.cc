// Plays traces and prints them with their results, or compares the results with the recorded ones:
//
//   replay [--profile macos11|macos15] [--check] [FILE...]
//
// A trace is about Mach IPC or about kqueues, as its first operation says. The profile concerns
// Mach IPC. For kqueues, --check also prints how often each rule has allowed a difference.
//
// Reads standard input if no file is given. Exit status: 1 if a trace differs, 2 if a trace cannot
// be read or played. Such a trace is not counted.
#include <array>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "comparison.h"
#include "kedge/mach/kernel/extension.h"
#include "kqueue_comparison.h"
#include "kqueue_replay.h"
#include "player.h"
#include "trace.h"

namespace {

using conformance::difference;
using conformance::trace_line;
using kedge::mach::kernel::kernel_profile;

constexpr const char* usage = "usage: replay [--profile macos11|macos15] [--check] [FILE...]\n";

struct settings {
  kernel_profile profile = kernel_profile::macos15;
  bool check = false;
  std::vector<std::string> files;
};

// Returns false for wrong arguments.
bool read_arguments(int count, char** words, settings& into) {
  for (int index = 1; index < count; ++index) {
    const std::string_view word = words[index];
    if (word == "--check") {
      into.check = true;
    } else if (word == "--profile" && index + 1 < count) {
      const std::string_view name = words[++index];
      if (name != "macos11" && name != "macos15") return false;
      into.profile = name == "macos11" ? kernel_profile::macos11 : kernel_profile::macos15;
    } else if (word.starts_with("--")) {
      return false;
    } else {
      into.files.emplace_back(word);
    }
  }
  return true;
}

// Returns false if the file cannot be read.
bool read_all(const std::string& file, std::string& text) {
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
    return true;
  }
  std::error_code problem;
  if (std::filesystem::is_directory(file, problem)) return false;
  std::ifstream in(file, std::ios::binary);
  if (!in) return false;
  text.assign(std::istreambuf_iterator<char>(in), {});
  return !in.bad();
}

void print_played_mach(const std::vector<trace_line>& lines) {
  conformance::player player;
  for (const trace_line& line : lines) {
    std::cout << line.text << '\n';
    at_line(line, [&] {
      if (line.what == trace_line::kind::tasks) {
        player.create_tasks(std::string_view(line.text).substr(6));
      } else if (line.what == trace_line::kind::operation) {
        std::cout << player.play(line.text) << '\n';
      }
    });
  }
}

void print_played_kqueue(const std::vector<trace_line>& lines) {
  const conformance::kqueue_run run = conformance::play_kqueue_trace(lines);
  std::size_t next = 0;
  for (const trace_line& line : lines) {
    std::cout << line.text << '\n';
    if (line.what != trace_line::kind::operation) continue;
    if (next == run.results.size()) throw std::runtime_error("ended by " + run.end);
    std::cout << run.results[next++] << '\n';
  }
}

void print_played(std::string_view text) {
  const std::vector<trace_line> lines = conformance::read_trace(text);
  conformance::is_kqueue_trace(lines) ? print_played_kqueue(lines) : print_played_mach(lines);
}

void print_difference(const std::string& file, const difference& found) {
  std::cout << file << ":" << found.line << ": " << found.operation << "\n  expected "
            << found.expected << '\n';
  for (const std::string& tag : found.tags) std::cout << "  as changed by " << tag << '\n';
  std::cout << "  got      " << found.got << '\n';
}

// What the comparisons of kqueues' traces have allowed.
struct allowances {
  std::array<std::size_t, conformance::kqueue_rule_count> applied{};
  std::size_t ended = 0;  // traces
};

// Returns true if the results equal the recorded ones. Prints the first difference.
bool compare(const std::string& file, std::string_view text, kernel_profile profile,
             allowances& allowed) {
  const std::vector<trace_line> lines = conformance::read_trace(text);
  std::optional<difference> found;
  if (conformance::is_kqueue_trace(lines)) {
    const auto compared = compare_kqueue_trace(lines, conformance::play_kqueue_trace(lines));
    for (std::size_t i = 0; i < compared.applied.size(); ++i)
      allowed.applied[i] += compared.applied[i];
    if (compared.ended_at != 0) ++allowed.ended;
    found = compared.found;
  } else {
    found = conformance::first_difference(text, profile);
  }
  if (found) print_difference(file, *found);
  return !found;
}

void print(const allowances& allowed) {
  for (std::size_t i = 0; i < allowed.applied.size(); ++i) {
    if (allowed.applied[i] != 0)
      std::cout << conformance::kqueue_rules[i].name << ": " << allowed.applied[i] << '\n';
  }
  if (allowed.ended != 0) std::cout << allowed.ended << " traces compared up to a rule's end\n";
}

}  // namespace

int main(int count, char** words) {
  settings given;
  if (!read_arguments(count, words, given)) {
    std::cerr << usage;
    return 2;
  }
  std::ios::sync_with_stdio(false);
  kedge::mach::kernel::set_kernel_profile(given.profile);
  if (given.files.empty()) given.files.emplace_back("-");
  std::size_t played = 0;
  std::size_t differ = 0;
  bool failed = false;
  allowances allowed;
  for (const std::string& file : given.files) {
    std::string text;
    if (!read_all(file, text)) {
      std::cerr << "replay: cannot read " << file << '\n';
      failed = true;
      continue;
    }
    try {
      if (!given.check) {
        print_played(text);
      } else if (!compare(file, text, given.profile, allowed)) {
        ++differ;
      }
      ++played;
    } catch (const std::exception& problem) {
      std::cout.flush();
      std::cerr << "replay: " << file << ": " << problem.what() << '\n';
      failed = true;
    }
  }
  if (given.check) {
    print(allowed);
    std::cout << played << " traces, " << differ << " differ\n";
  }
  std::cout.flush();
  return failed ? 2 : differ > 0 ? 1 : 0;
}
