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

struct played {
  std::string name;
  std::vector<conformance::trace_line> lines;
  kqueue_run run;
};

// The given traces and the two above, played once.
const std::vector<played>& play_all() {
  static const std::vector<played> played_once = [] {
    std::vector<conformance::given_trace> all =
        conformance::read_given_traces(conformance::trace_kind::kqueue);
    REQUIRE(all.size() == 824);
    all.push_back({"other choice", other_choice});
    all.push_back({"fewer events", fewer_events});
    std::vector<played> results;
    for (const conformance::given_trace& each : all) {
      std::vector<conformance::trace_line> lines = conformance::read_trace(each.text);
      kqueue_run run = conformance::play_kqueue_trace(lines);
      results.push_back({each.name, std::move(lines), std::move(run)});
    }
    return results;
  }();
  return played_once;
}

// Returns the result without the events that `is_lost` names.
template <class IsLost>
std::string lose(const std::string& result, IsLost is_lost) {
  const std::vector<std::string_view> words = conformance::split(result, ' ');
  std::string kept;
  std::size_t count = 0;
  for (const std::string_view word : words) {
    if (!word.starts_with("e=") || is_lost(word)) continue;
    ++count;
    kept += " " + std::string(word);
  }
  return words.size() < 3 ? result : "= " + std::to_string(count) + kept;
}

std::string lose_clear(const std::string&, const std::string& result) {
  return lose(result, [](std::string_view event) {
    const bool is_file = event.starts_with("e=read:f") || event.starts_with("e=except:f") ||
                         event.starts_with("e=vnode:f");
    return is_file && event.find("clear") != std::string_view::npos &&
           event.find("error") == std::string_view::npos;
  });
}

std::string lose_kqueues(const std::string&, const std::string& result) {
  return lose(result, [](std::string_view event) {
    return event.starts_with("e=read:q") && event.find("error") == std::string_view::npos;
  });
}

std::string never_readable(const std::string& operation, const std::string& result) {
  return operation.starts_with("poll q") && result == "= 1" ? "= 0" : result;
}

std::string always_readable(const std::string& operation, const std::string& result) {
  return operation.starts_with("poll q") && result == "= 0" ? "= 1" : result;
}

// Falsifies what is compared of the run. Returns whether that changes anything.
bool falsify_run(const played& trace,
                 std::string (*falsify)(const std::string&, const std::string&), kqueue_run& run) {
  const int end = compare_kqueue_trace(trace.lines, trace.run).ended_at;
  std::size_t index = 0;
  bool is_changed = false;
  for (const conformance::trace_line& line : trace.lines) {
    if (line.what != conformance::trace_line::kind::operation) continue;
    if (index == run.results.size() || (end != 0 && line.number > end)) break;
    std::string& result = run.results[index++];
    std::string other = falsify(line.text, result);
    is_changed = is_changed || other != result;
    result = std::move(other);
  }
  return is_changed;
}

}  // namespace

TEST_CASE("the kqueue gives the recorded results, but where a rule allows another") {
  std::size_t applied[kqueue_rule_count]{};
  std::size_t ended = 0;
  for (const played& each : play_all()) {
    const kqueue_comparison c = compare_kqueue_trace(each.lines, each.run);
    for (std::size_t i = 0; i < kqueue_rule_count; ++i) applied[i] += c.applied[i];
    if (c.ended_at != 0) ++ended;
    if (!c.found) continue;
    FAIL_CHECK(each.name << ":" << c.found->line << ": " << c.found->operation << "\n  expected "
                         << c.found->expected << "\n  got      " << c.found->got);
  }
  // A rule that applies more often, or less, is a change of the kqueue that is to be looked at.
  constexpr std::size_t wanted[kqueue_rule_count] = {
      383,  // order-of-descriptors
      7,    // order-of-exits
      1,    // choice-of-descriptors
      1,    // fewer-than-fit
      147,  // clear-too-often
      34,   // clear-not-again
      13,   // clear-of-kqueue
      162,  // data-of-kqueue
      12,   // kqueue-without-events
      3,    // readable-in-vain
      6,    // nesting-is-allowed
      1,    // nesting-is-too-deep
  };
  for (std::size_t i = 0; i < kqueue_rule_count; ++i) {
    CAPTURE(kqueue_rules[i].name);
    CHECK(applied[i] == wanted[i]);
  }
  CHECK(ended == 13);
}

TEST_CASE("a lost event, and a kqueue that is never or always readable, is found in the traces") {
  struct falsification {
    const char* name;
    std::string (*falsify)(const std::string& operation, const std::string& result);
    std::size_t changed;  // traces
    std::size_t found;    // of these. In the others the rules allow each change.
  };
  constexpr falsification all[] = {
      {"EV_CLEAR of a file is lost", lose_clear, 134, 133},
      {"events of kqueues are lost", lose_kqueues, 103, 98},
      {"kqueues are never readable", never_readable, 163, 154},
      {"kqueues are always readable", always_readable, 214, 211},
  };
  for (const falsification& each : all) {
    CAPTURE(std::string(each.name));
    std::size_t changed = 0;
    std::size_t found = 0;
    for (const played& trace : play_all()) {
      kqueue_run false_run = trace.run;
      if (!falsify_run(trace, each.falsify, false_run)) continue;
      ++changed;
      if (compare_kqueue_trace(trace.lines, false_run).found) ++found;
    }
    CHECK(changed == each.changed);
    CHECK(found == each.found);
  }
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
  // What the rules need of the trace: q1 is empty, q2 watches a file, q3 one with a low-water mark.
  const std::string setup =
      "kqueue q1\n= OK\nkqueue q2\n= OK\nkqueue q3\n= OK\npipe f1 f2\n= OK\nsock f3 f4\n= OK\n"
      "kev q2 n=8 c=read:f1:add:0:0:1\n= 0\n"
      "kev q3 n=8 c=read:f3:add:1:9:1\n= 0\n";
  const auto after = [&](const std::string& before, const std::string& operation,
                         const std::string& recorded, const std::string& got) {
    const auto lines = conformance::read_trace(setup + before + operation + "\n" + recorded + "\n");
    kqueue_run run;
    for (const auto& line : lines) {
      if (line.what == conformance::trace_line::kind::operation)
        run.results.push_back(*line.result);
    }
    run.results.back() = got;
    return compare_kqueue_trace(lines, run);
  };
  const auto extra = [&](const std::string& record, const std::string& before = "") {
    return after(before, "kev q1 n=8", with_one, both(record));
  };
  const auto missing = [&](const std::string& record, const std::string& before = "") {
    return after(before, "kev q1 n=8", both(record), with_one);
  };
  const auto poll = [&](const std::string& kq, const std::string& recorded, const std::string& got,
                        const std::string& before) {
    return after(before, "poll " + kq, recorded, got);
  };

  const std::string two_knotes = "kev q1 n=0 c=read:f1:add+clear:0:0:1 c=write:f1:add:0:0:1\n= 0\n";
  CHECK(applies_only(extra("read:f1:add+clear:0:5:1", two_knotes),
                     kqueue_rule_name::clear_too_often));
  CHECK(applies_only(extra("read:f1:add+clear+eof:0:0:1"), kqueue_rule_name::clear_too_often));
  CHECK(applies_only(extra("write:f3:add+clear:0:+:1"), kqueue_rule_name::clear_too_often));
  CHECK(extra("read:f1:add+clear:0:5:1").found);
  CHECK(extra("write:f2:add+clear:0:+:1").found);
  CHECK(extra("read:f1:add:0:5:1", two_knotes).found);
  CHECK(extra("user:2:add+clear:0:5:1").found);
  CHECK(extra("read:f1:add+clear+error:0:EINVAL:1", two_knotes).found);

  const std::string write_two = "write f2 2\n= 2\n";
  const std::string read_one = "read f1 1\n= 1\n";
  const std::string drain = "drain f1\n= OK\n";
  const std::string shown = "kev q1 n=8\n= 0\n";
  CHECK(applies_only(missing("write:f2:add+clear:0:+:1", write_two),
                     kqueue_rule_name::clear_not_again));
  CHECK(applies_only(missing("write:f2:add+clear:0:+:1", write_two + shown + read_one),
                     kqueue_rule_name::clear_not_again));
  CHECK(applies_only(missing("write:f2:add+clear:0:+:1", "close f1\n= OK\n"),
                     kqueue_rule_name::clear_not_again));
  CHECK(missing("write:f2:add+clear:0:+:1").found);
  CHECK(missing("write:f2:add+clear:0:+:1", write_two + shown).found);
  CHECK(missing("write:f4:add+clear:0:+:1", "write f4 1\n= 1\n").found);
  CHECK(applies_only(missing("read:f1:add+clear:0:1:1", write_two + shown + read_one),
                     kqueue_rule_name::clear_not_again));
  CHECK(missing("read:f1:add+clear:0:1:1", write_two).found);
  CHECK(missing("read:f1:add+clear:0:1:1", write_two + read_one).found);
  CHECK(missing("read:f1:add+clear:0:1:1", write_two + shown + drain).found);
  CHECK(missing("read:f3:add+clear:0:1:1", "write f4 2\n= 2\n" + shown + "read f3 1\n= 1\n").found);
  CHECK(missing("except:f1:add+clear:0:1:1", write_two + shown + read_one).found);
  CHECK(missing("vnode:f1:add+clear:2:0:1", write_two + shown + read_one).found);
  CHECK(missing("write:f2:add:0:+:1", write_two).found);
  CHECK(missing("timer:1:add+clear:0:1:1").found);

  CHECK(applies_only(extra("read:q2:add+clear:0:1:1"), kqueue_rule_name::clear_of_kqueue));
  const std::string low_water = "write f4 1\n= 1\n";
  CHECK(applies_only(extra("read:q3:add:0:1:1", low_water), kqueue_rule_name::readable_in_vain));
  CHECK(extra("read:q3:add:0:1:1").found);
  CHECK(extra("read:q2:add:0:1:1", write_two).found);
  CHECK(applies_only(poll("q3", "= 0", "= 1", low_water), kqueue_rule_name::readable_in_vain));
  CHECK(poll("q3", "= 0", "= 1", "").found);
  CHECK(poll("q1", "= 0", "= 1", low_water).found);

  CHECK(applies_only(missing("read:q2:add:0:1:1", write_two + drain),
                     kqueue_rule_name::kqueue_without_events));
  CHECK(missing("read:q2:add:0:1:1", write_two).found);
  CHECK(missing("read:q2:add:0:1:1", write_two + read_one).found);
  CHECK(
      missing("read:q2:add:0:1:1", write_two + drain + "kev q2 n=0 c=user:1:add:1000000:0:1\n= 0\n")
          .found);
  CHECK(applies_only(poll("q2", "= 1", "= 0", write_two + drain),
                     kqueue_rule_name::kqueue_without_events));
  CHECK(poll("q2", "= 1", "= 0", write_two).found);
  CHECK(poll("q1", "= 1", "= 0", write_two + drain).found);

  CHECK(applies_only(compare("kev q1 n=8", both("read:q2:add:0:3:1"), both("read:q2:add:0:1:1")),
                     kqueue_rule_name::data_of_kqueue));
  CHECK(compare("kev q1 n=8", both("read:q2:add:0:1:1"), both("read:q2:add:0:3:1")).found);
  CHECK(compare("kev q1 n=8", both("read:f2:add+clear:0:1:1"), both("read:f2:add+clear:0:3:1"))
            .found);
  CHECK(
      applies_only(missing("read:q2:add+error:0:EINVAL:1"), kqueue_rule_name::nesting_is_allowed));
  CHECK(missing("read:q2:add+error:0:EBADF:1").found);
  CHECK(applies_only(extra("read:q2:add+error:0:EINVAL:1"), kqueue_rule_name::nesting_is_too_deep));
}

TEST_CASE("with little room another choice and fewer events are allowed, of descriptors alone") {
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
  const auto play = [](const std::string& flags) {
    const auto trace = conformance::read_trace(
        "kqueue q1\n= OK\npipe f1 f2\n= OK\nkev q1 n=8\n= 1 e=write:f2:add" + flags +
        ":0:+:1\nclose f1\n= OK\n");
    return compare_kqueue_trace(trace, {{"= OK", "= OK", "= 0", "= EBADF"}, ""});
  };
  // Neither was written to: not allowed, and the first difference.
  CHECK(play("+clear").found->line == 5);
  const auto after_write = [](const std::string& flags) {
    const auto trace = conformance::read_trace(
        "kqueue q1\n= OK\npipe f1 f2\n= OK\nwrite f2 1\n= 1\nkev q1 n=8\n= 1 e=write:f2:add" +
        flags + ":0:+:1\nclose f1\n= OK\n");
    return compare_kqueue_trace(trace, {{"= OK", "= OK", "= 1", "= 0", "= EBADF"}, ""});
  };
  const kqueue_comparison c = after_write("+oneshot+clear");
  CHECK(!c.found);
  CHECK(c.ended_at == 7);
  REQUIRE(after_write("+clear").found);
  CHECK(after_write("+clear").found->line == 9);
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
  const std::string drained =
      "kqueue q1\n= OK\npipe f0 f1\n= OK\nkev q1 n=8 c=read:f0:add:0:0:1\n= 0\n"
      "write f1 1\n= 1\ndrain f0\n= OK\npoll q1\n= 1\n";
  const outcome o = run({program_under_test, "--check"}, drained);
  CHECK(o.status == 0);
  CHECK(o.out == "kqueue-without-events: 1\n1 traces, 0 differ\n");
  const outcome other =
      run({program_under_test, "--check"}, replace_text(good, "poll q1\n= 0", "poll q1\n= 1"));
  CHECK(other.status == 1);
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
