// Plays traces and prints them with their results, or compares the results with the recorded ones:
//
//   replay [--profile macos11|macos15] [--check] [FILE...]
//
// Reads standard input if no file is given. Exit status: 1 if a trace differs, 2 if a trace cannot
// be read or played. Such a trace is not counted.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "comparison.h"
#include "kedge/mach/kernel/extension.h"
#include "player.h"
#include "trace.h"

namespace {

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

void print_played(std::string_view text) {
  conformance::player player;
  for (const conformance::trace_line& line : conformance::read_trace(text)) {
    std::cout << line.text << '\n';
    at_line(line, [&] {
      if (line.what == conformance::trace_line::kind::tasks) {
        player.create_tasks(std::string_view(line.text).substr(6));
      } else if (line.what == conformance::trace_line::kind::operation) {
        std::cout << player.play(line.text) << '\n';
      }
    });
  }
}

// Returns true if the results equal the recorded ones. Prints the first difference.
bool compare(const std::string& file, std::string_view text, kernel_profile profile) {
  const auto difference = conformance::first_difference(text, profile);
  if (!difference) return true;
  std::cout << file << ":" << difference->line << ": " << difference->operation << "\n  expected "
            << difference->expected << '\n';
  for (const std::string& tag : difference->tags) std::cout << "  as changed by " << tag << '\n';
  std::cout << "  got      " << difference->got << '\n';
  return false;
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
      } else if (!compare(file, text, given.profile)) {
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
    std::cout << played << " traces, " << differ << " differ\n";
  }
  std::cout.flush();
  return failed ? 2 : differ > 0 ? 1 : 0;
}
