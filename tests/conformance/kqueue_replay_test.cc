// The kqueue against the recorded traces, and the comparison against results that are wrong.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "given_traces.h"
#include "kqueue_comparison.h"
#include "kqueue_replay.h"
#include "script.h"
#include "tests/tools/program.h"
#include "trace.h"

namespace {

using conformance::kqueue_comparison;
using conformance::kqueue_rule_count;
using conformance::kqueue_rule_name;
using conformance::kqueue_rules;
using conformance::kqueue_run;

const std::string program_under_test = "tests/conformance/replay";

// A trace of one operation, and a result that was not recorded.
kqueue_comparison compare(const std::string& operation, const std::string& recorded,
                          const std::string& got) {
  return compare_kqueue_trace(conformance::read_trace(operation + "\n" + recorded + "\n"),
                              {{got}, ""});
}

bool applies_only(const kqueue_comparison& c, kqueue_rule_name rule) {
  for (std::size_t i = 0; i < kqueue_rule_count; ++i) {
    if ((c.applied[i] != 0) != (i == static_cast<std::size_t>(rule))) return false;
  }
  return !c.found;
}

// Of little room, by Darwin's order of activation. The given traces need no rule for that.
const std::string other_choice =
    "kqueue q1\n= OK\n"
    "pipe f0 f1\n= OK\n"
    "kev q1 n=0 c=read:f0:add:0:0:1 c=user:1:add:1000000:0:1\n= 0\n"
    "write f1 1\n= 1\n"
    "kev q1 n=0 c=user:2:add:1000000:0:1\n= 0\n"
    "kev q1 n=2\n= 2 e=user:1:add:1000000:0:1 e=read:f0:add:0:1:1\n";

// The process's descriptor takes epoll's room and comes to nothing.
const std::string fewer_events =
    "kqueue q1\n= OK\n"
    "pipe f0 f1\n= OK\n"
    "pipe f2 f3\n= OK\n"
    "spawn p1\n= OK\n"
    "kev q1 n=0 c=proc:p1:add:0:0:1 c=read:f0:add:0:0:2 c=read:f2:add:0:0:3\n= 0\n"
    "exit p1 0\n= OK\n"
    "write f1 1\n= 1\n"
    "write f3 1\n= 1\n"
    "kev q1 n=2\n= 2 e=read:f0:add:0:1:2 e=read:f2:add:0:1:3\n";

const std::string good =
    "# a user event\n"
    "kqueue q1\n"
    "= OK\n"
    "kev q1 n=2 c=user:1:add+clear:0:0:a\n"
    "= 0\n"
    "kev64 q1 n=2 c=user:1:x0:1000000:7:a:1:2\n"
    "= EINVAL\n"
    "kev q1 n=2 c=user:1:x0:1000000:7:a\n"
    "= 1 e=user:1:add+clear:0:7:a\n"
    "poll q1\n"
    "= 0\n";

std::string replace_text(std::string trace, const std::string& from, const std::string& to) {
  return trace.replace(trace.find(from), from.size(), to);
}

}  // namespace

TEST_CASE("the kqueue gives the recorded results, but where a rule allows another") {
  std::vector<conformance::given_trace> all =
      conformance::read_given_traces(conformance::trace_kind::kqueue);
  REQUIRE(all.size() == 824);
  all.push_back({"other choice", other_choice});
  all.push_back({"fewer events", fewer_events});
  std::size_t applied[kqueue_rule_count]{};
  std::size_t ended = 0;
  for (const conformance::given_trace& each : all) {
    const std::vector<conformance::trace_line> lines = conformance::read_trace(each.text);
    const kqueue_comparison c = compare_kqueue_trace(lines, conformance::play_kqueue_trace(lines));
    for (std::size_t i = 0; i < kqueue_rule_count; ++i) applied[i] += c.applied[i];
    if (c.ended_at != 0) ++ended;
    if (!c.found) continue;
    FAIL_CHECK(each.name << ":" << c.found->line << ": " << c.found->operation << "\n  expected "
                         << c.found->expected << "\n  got      " << c.found->got);
  }
  for (std::size_t i = 0; i < kqueue_rule_count; ++i) {
    MESSAGE(kqueue_rules[i].name << ": " << applied[i]);
    CHECK(applied[i] != 0);
  }
  MESSAGE(ended << " traces compared up to a rule's end");
  CHECK(ended <= 13);
}

TEST_CASE("each rule stands for a row of the kqueue's README") {
  std::ifstream in("runtime/kqueue/README.md");
  const std::string text(std::istreambuf_iterator<char>(in), {});
  REQUIRE(!text.empty());
  for (const auto& rule : kqueue_rules) {
    CAPTURE(rule.name);
    const std::size_t at = text.find(rule.row);
    REQUIRE(at != std::string::npos);
    CHECK(text[text.rfind('\n', at) + 1] == '|');
  }
}

TEST_CASE("a record that differs in one field is a difference") {
  const std::string operation = "kev64 q1 n=8 c=user:1:add:0:0:1";
  const std::string recorded = "= 2 e=user:1:add+clear:0:1:2:0:0 e=read:f1:add:0:5:3:0:0";
  for (const char* got : {"= 2 e=timer:1:add+clear:0:1:2:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:2:add+clear:0:1:2:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:1:add:0:1:2:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:1:add+clear:1:1:2:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:1:add+clear:0:2:2:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:1:add+clear:0:1:3:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:1:add+clear:0:1:2:0:1 e=read:f1:add:0:5:3:0:0",
                          "= 2 e=user:1:add+clear:0:1:2:0:0 e=read:f1:add:0:6:3:0:0",
                          "= 1 e=user:1:add+clear:0:1:2:0:0", "= 1 e=read:f1:add:0:5:3:0:0",
                          "= 3 e=user:1:add+clear:0:1:2:0:0 e=read:f1:add:0:5:3:0:0",
                          "= 3 e=user:1:add+clear:0:1:2:0:0 e=read:f1:add:0:5:3:0:0 "
                          "e=user:1:add+clear:0:1:2:0:0",
                          "= 0", "= EBADF"}) {
    CAPTURE(got);
    const kqueue_comparison c = compare(operation, recorded, got);
    REQUIRE(c.found);
    CHECK(c.found->line == 1);
    CHECK(c.found->operation == operation);
    CHECK(c.found->expected == recorded);
    CHECK(c.found->got == got);
  }
  CHECK(!compare(operation, recorded, recorded).found);
  CHECK(compare("close f1", "= OK", "= EBADF").found);
  CHECK(compare("poll q1", "= 1", "= EBADF").found);
  CHECK(compare("write f1 5", "= 5", "= 4").found);
}

TEST_CASE("another order is a difference, but for descriptors and for exits") {
  const std::string user = " e=user:1:add:0:0:1";
  const std::string timer = " e=timer:1:add+clear:0:1:1";
  const std::string file = " e=read:f1:add:0:5:3";
  const std::string other_file = " e=write:f2:add:0:+:3";
  const std::string exit = " e=proc:p1:add+oneshot+clear+eof:80000000:0:1";
  const std::string receipt = " e=read:f1:receipt+error:0:0:1";
  const auto order = [](const std::string& one, const std::string& other) {
    return compare("kev q1 n=8", one, other);
  };
  CHECK(order("= 2" + user + timer, "= 2" + timer + user).found);
  CHECK(order("= 3" + user + file + timer, "= 3" + timer + file + user).found);
  CHECK(order("= 2" + receipt + user, "= 2" + user + receipt).found);
  CHECK(applies_only(order("= 2" + user + file, "= 2" + file + user),
                     kqueue_rule_name::order_of_descriptors));
  CHECK(applies_only(order("= 2" + other_file + file, "= 2" + file + other_file),
                     kqueue_rule_name::order_of_descriptors));
  CHECK(applies_only(order("= 3" + exit + user + timer, "= 3" + user + timer + exit),
                     kqueue_rule_name::order_of_exits));
}

TEST_CASE("each rule allows its difference and no more") {
  const std::string with_one = "= 1 e=user:1:add:0:0:1";
  const auto both = [&](const std::string& record) { return "= 2 e=user:1:add:0:0:1 e=" + record; };
  const auto extra = [&](const std::string& record) {
    return compare("kev q1 n=8", with_one, both(record));
  };
  const auto missing = [&](const std::string& record) {
    return compare("kev q1 n=8", both(record), with_one);
  };
  CHECK(applies_only(extra("read:f1:add+clear:0:5:1"), kqueue_rule_name::clear_too_often));
  CHECK(extra("read:f1:add:0:5:1").found);
  CHECK(extra("user:2:add+clear:0:5:1").found);
  CHECK(extra("read:f1:add+clear+error:0:EINVAL:1").found);
  CHECK(applies_only(missing("write:f1:add+clear:0:+:1"), kqueue_rule_name::clear_not_again));
  CHECK(missing("write:f1:add:0:+:1").found);
  CHECK(missing("timer:1:add+clear:0:1:1").found);
  CHECK(applies_only(extra("read:q2:add+clear:0:1:1"), kqueue_rule_name::clear_of_kqueue));
  CHECK(applies_only(extra("read:q2:add:0:1:1"), kqueue_rule_name::readable_in_vain));
  CHECK(applies_only(missing("read:q2:add:0:1:1"), kqueue_rule_name::kqueue_without_events));
  CHECK(applies_only(compare("poll q1", "= 1", "= 0"), kqueue_rule_name::kqueue_without_events));
  CHECK(applies_only(compare("poll q1", "= 0", "= 1"), kqueue_rule_name::readable_in_vain));
  CHECK(applies_only(compare("kev q1 n=8", both("read:q2:add:0:3:1"), both("read:q2:add:0:1:1")),
                     kqueue_rule_name::data_of_kqueue));
  CHECK(compare("kev q1 n=8", both("read:q2:add:0:1:1"), both("read:q2:add:0:3:1")).found);
  CHECK(compare("kev q1 n=8", both("read:f2:add+clear:0:1:1"), both("read:f2:add+clear:0:3:1"))
            .found);
  CHECK(
      applies_only(missing("read:q2:add+error:0:EINVAL:1"), kqueue_rule_name::nesting_is_allowed));
  CHECK(missing("read:q2:add+error:0:EBADF:1").found);
  CHECK(applies_only(extra("read:q2:add+error:0:EINVAL:1"), kqueue_rule_name::nesting_is_too_deep));
  const std::string one_file = "= 1 e=read:f1:add:0:5:1";
  const std::string other_file = "= 1 e=read:f2:add:0:5:1";
  CHECK(applies_only(compare("kev q1 n=1", one_file, other_file),
                     kqueue_rule_name::choice_of_descriptors));
  CHECK(compare("kev q1 n=2", one_file, other_file).found);
  const std::string both_files = "= 2 e=read:f1:add:0:5:1 e=read:f2:add:0:5:1";
  CHECK(
      applies_only(compare("kev q1 n=4", both_files, one_file), kqueue_rule_name::fewer_than_fit));
  CHECK(compare("kev q1 n=4", both_files, "= 0").found);
  CHECK(compare("kev q1 n=32", both_files, one_file).found);
  CHECK(compare("kev q1 n=4", "= 2 e=user:1:add:0:0:1 e=user:2:add:0:0:1", "= 1 e=user:1:add:0:0:1")
            .found);
  CHECK(compare("kev q1 n=1", "= 1 e=user:1:add:0:0:1", "= 1 e=user:2:add:0:0:1").found);
}

TEST_CASE("a rule that leaves other knotes behind ends the comparison of the trace") {
  const auto trace = conformance::read_trace(
      "kev q1 n=8\n= 1 e=read:f1:add+oneshot+clear:0:5:1\nclose f1\n= OK\n");
  const kqueue_comparison c = compare_kqueue_trace(trace, {{"= 0", "= EBADF"}, ""});
  CHECK(!c.found);
  CHECK(c.ended_at == 1);
  const auto other =
      conformance::read_trace("kev q1 n=8\n= 1 e=read:f1:add+clear:0:5:1\nclose f1\n= OK\n");
  CHECK(compare_kqueue_trace(other, {{"= 0", "= EBADF"}, ""}).found);
}

TEST_CASE("a process that crashes or hangs in a trace is a difference at the next operation") {
  const auto trace = conformance::read_trace("kqueue q1\n= OK\nkev q1 n=8\n= 0\n");
  const kqueue_comparison c = compare_kqueue_trace(trace, {{"= OK"}, "signal 11"});
  REQUIRE(c.found);
  CHECK(c.found->line == 3);
  CHECK(c.found->got == "= (none: signal 11)");
}

TEST_CASE("replay prints a kqueue's script with its results") {
  const std::string script = replace_text(good, "= 1 e=user:1:add+clear:0:7:a\n", "");
  const outcome o = run({program_under_test}, script);
  CHECK(o.status == 0);
  CHECK(o.out == good);
  CHECK(o.err == "");
}

TEST_CASE("replay --check prints the first difference of a kqueue's trace and exits with 1") {
  const outcome same = run({program_under_test, "--check"}, good);
  CHECK(same.status == 0);
  CHECK(same.out == "1 traces, 0 differ\n");
  const outcome other =
      run({program_under_test, "--check"}, replace_text(good, ":7:a\n=", ":8:a\n="));
  CHECK(other.status == 1);
  CHECK(other.out ==
        "-:8: kev q1 n=2 c=user:1:x0:1000000:8:a\n"
        "  expected = 1 e=user:1:add+clear:0:7:a\n"
        "  got      = 1 e=user:1:add+clear:0:8:a\n"
        "1 traces, 1 differ\n");
}

TEST_CASE("replay --check names the rules that it has applied") {
  const outcome o =
      run({program_under_test, "--check"}, replace_text(good, "poll q1\n= 0", "poll q1\n= 1"));
  CHECK(o.status == 0);
  CHECK(o.out == "kqueue-without-events: 1\n1 traces, 0 differ\n");
}

TEST_CASE("replay prints the number of a line that breaks the grammar of kqueues") {
  for (const std::string bad :
       {"kevent q1", "kqueue", "pipe f0", "pipe f0 f16", "close x1", "signal int", "kev q1 n=x",
        "kev q1 n=1 c=user:1:ad:0:0:0", "kev q1 n=1 c=user:1:add:0:0", "read f0 many"}) {
    CAPTURE(bad);
    const outcome o = run({program_under_test}, "kqueue q1\n" + bad + "\n");
    CHECK(o.status == 2);
    CHECK(o.err.find("replay: -: line 2: ") == 0);
  }
}
