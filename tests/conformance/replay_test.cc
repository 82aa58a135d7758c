// The kernel against the recorded traces, and the replay program against traces that are wrong.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "comparison.h"
#include "given_traces.h"
#include "kedge/mach/kernel/extension.h"
#include "tests/tools/program.h"

namespace {

using kedge::mach::kernel::kernel_profile;

// One of so many random traces is played.
constexpr std::size_t one_of = conformance::is_slow ? 32 : 1;

void play_all(kernel_profile profile) {
  kedge::mach::kernel::set_kernel_profile(profile);
  const std::vector<conformance::given_trace> all =
      conformance::read_given_traces(conformance::trace_kind::mach);
  REQUIRE(all.size() == 2258);
  std::size_t index = 0, played = 0;
  for (const conformance::given_trace& each : all) {
    if (index++ % one_of != 0 && each.name.find("/directed/") == std::string::npos) continue;
    ++played;
    const auto differs = conformance::first_difference(each.text, profile);
    if (!differs) continue;
    FAIL_CHECK(each.name << ":" << differs->line << ": " << differs->operation << "\n  expected "
                         << differs->expected << "\n  got      " << differs->got);
  }
  if (conformance::is_slow)
    MESSAGE("slow configuration: " << played << " traces of " << all.size());
}

const std::string program_under_test = "tests/conformance/replay";

const std::string good =
    "# a port\n"
    "tasks 1\n"
    "0 allocate receive\n"
    "= OK name=p1\n"
    "0 mod_refs p1 send -2\n"
    "= KERN_INVALID_RIGHT guard=0x100:p1:0x0\n"
    "0 rename p1 p1\n"
    "= KERN_NOT_SUPPORTED\n"
    "#v rename\n";

std::string replace_text(std::string trace, const std::string& from, const std::string& to) {
  return trace.replace(trace.find(from), from.size(), to);
}

outcome check(const std::string& trace, const std::string& profile = "macos11") {
  return run({program_under_test, "--check", "--profile", profile}, trace);
}

}  // namespace

TEST_CASE("in the macOS 11 profile the kernel gives the recorded results") {
  play_all(kernel_profile::macos11);
}

TEST_CASE(
    "in the macOS 15 profile the kernel gives the recorded results or those of the version table") {
  play_all(kernel_profile::macos15);
}

TEST_CASE("replay prints a script with its results, without blank lines and version tags") {
  const std::string untagged = good.substr(0, good.find("#v"));
  for (const std::string& script :
       {good, replace_text(replace_text(good, "= OK name=p1\n", ""), "tasks 1\n", "\ntasks 1\n")}) {
    CAPTURE(script);
    const outcome o = run({program_under_test, "--profile", "macos11"}, script);
    CHECK(o.status == 0);
    CHECK(o.out == untagged);
    CHECK(o.err == "");
  }
}

TEST_CASE("replay --check reports no difference and exits with 0 for a right trace") {
  for (const char* profile : {"macos11", "macos15"}) {
    CAPTURE(profile);
    const outcome o = check(good, profile);
    CHECK(o.status == 0);
    CHECK(o.out == "1 traces, 0 differ\n");
  }
}

TEST_CASE("replay --check prints the line of the first difference and exits with 1") {
  const struct {
    const char* from;
    const char* to;
    const char* line;
  } wrong[] = {{"name=p1", "name=p2", "-:3:"},
               {"0x100:p1", "0x200:p1", "-:5:"},
               {" guard=0x100:p1:0x0", "", "-:5:"},
               {"= KERN_INVALID_RIGHT guard=0x100:p1:0x0\n", "", "-:5:"}};
  for (const auto& each : wrong) {
    CAPTURE(each.to);
    for (const char* profile : {"macos11", "macos15"}) {
      CAPTURE(profile);
      const outcome o = check(replace_text(good, each.from, each.to), profile);
      CHECK(o.status == 1);
      CHECK(o.out.find(each.line) == 0);
      CHECK(o.out.find("\n1 traces, 1 differ\n") != std::string::npos);
    }
  }
}

TEST_CASE("replay --check compares a tagged result with the version table, in macos15 only") {
  const std::string wrong = replace_text(good, "= KERN_NOT_SUPPORTED", "= KERN_INVALID_NAME");
  CHECK(check(wrong, "macos15").status == 1);
  const std::string unknown = replace_text(good, "#v rename", "#v no-such-tag");
  CHECK(check(unknown, "macos15").status == 2);
  const std::string ends = replace_text(good, "KERN_NOT_SUPPORTED\n#v rename", "OK\n#v! rename");
  CHECK(check(ends, "macos15").status == 0);
  CHECK(check(ends, "macos11").status == 1);
}

// No recording shows the behaviour of macOS 11. It is that of waitq_unlink_cb in xnu-7195.
TEST_CASE("leaving the oldest of three sets gives KERN_NOT_IN_SET in macOS 11 and OK in macOS 15") {
  const std::string three_sets =
      "tasks 1\n0 allocate receive\n= OK name=p1\n0 allocate port_set\n= OK name=p2\n"
      "0 allocate port_set\n= OK name=p3\n0 allocate port_set\n= OK name=p4\n"
      "0 insert_member p1 p2\n= OK\n0 insert_member p1 p3\n= OK\n0 insert_member p1 p4\n= OK\n";
  const std::string middle = three_sets + "0 extract_member p1 p3\n= OK\n";
  const std::string oldest = "0 get_set_status p2\n= OK members=-\n0 get_set_status p4\n";
  CHECK(check(middle + "0 extract_member p1 p2\n= KERN_NOT_IN_SET\n" + oldest +
                  "= OK members=p1\n0 extract_member p1 p4\n= OK\n",
              "macos11")
            .status == 0);
  CHECK(check(middle + "0 extract_member p1 p2\n= OK\n" + oldest +
                  "= OK members=p1\n0 extract_member p1 p4\n= OK\n",
              "macos15")
            .status == 0);
}

TEST_CASE("replay names a file that it cannot read, plays the next, and exits with 2") {
  const char* const scratch = std::getenv("TEST_TMPDIR");
  const std::string file = std::string(scratch ? scratch : "/tmp") + "/good.txt";
  std::ofstream(file) << good;
  for (const std::string bad : {"/nowhere/trace.txt", "/"}) {
    CAPTURE(bad);
    const outcome o = run({program_under_test, "--check", "--profile", "macos11", bad, file});
    CHECK(o.status == 2);
    CHECK(o.out == "1 traces, 0 differ\n");
    CHECK(o.err == "replay: cannot read " + bad + "\n");
  }
}

TEST_CASE("replay prints the number of a line that breaks the grammar, and exits with 2") {
  for (const std::string bad :
       {"0 alocate receive", "0", "0 allocate", "0 allocate receive p1", "7 allocate receive",
        "0 type q1", "0 mod_refs p1 send x", "0 msg opt=dance", "tasks 2", "type p1"}) {
    CAPTURE(bad);
    const outcome o = run({program_under_test}, "tasks 1\n" + bad + "\n");
    CHECK(o.status == 2);
    CHECK(o.err.find("replay: -: line 2: ") == 0);
  }
}

TEST_CASE("replay exits with 2 for unknown or incomplete arguments") {
  CHECK(run({program_under_test, "--profile"}).status == 2);
  CHECK(run({program_under_test, "--profile", "macos12"}).status == 2);
  CHECK(run({program_under_test, "--verify"}).status == 2);
}
