#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <regex>
#include <string>
#include <vector>

#include "program.h"

namespace {

using words = std::vector<std::string>;

// Returns the command line that runs a command in the C locale, where wc has no multibyte
// characters.
words in_c_locale(const std::string& command, const words& arguments) {
  words all{"/usr/bin/env", "LC_ALL=C", command};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}
words demo(const words& arguments = {}) {
  return in_c_locale("tools/demo/demo", arguments);
}

struct counts {
  std::string lines, words, bytes;
  friend bool operator==(const counts&, const counts&) = default;
};

// Returns wc's counts of a text on its standard input.
counts wc(const std::string& text) {
  const outcome o = run(in_c_locale("wc", {}), text);
  std::smatch m;
  REQUIRE(std::regex_search(o.out, m, std::regex("(\\d+)\\s+(\\d+)\\s+(\\d+)")));
  return {m[1], m[2], m[3]};
}

// Returns the totals that the demo printed, or empty strings without totals.
counts totals(const outcome& o) {
  std::smatch m;
  const std::regex line("(?:^|\\n)total: (\\d+) lines, (\\d+) words, (\\d+) bytes\\n$");
  if (!std::regex_search(o.out, m, line)) return {};
  return {m[1], m[2], m[3]};
}

// Returns the number that precedes `what` (a regular expression) in the demo's report.
unsigned long number_before(const outcome& o, const std::string& what) {
  std::smatch m;
  REQUIRE(std::regex_search(o.out, m, std::regex("(\\d+) " + what)));
  return std::stoul(m[1]);
}

std::ptrdiff_t deaths(const outcome& o) {
  const std::regex row("  yes\\n");
  return std::distance(std::sregex_iterator(o.out.begin(), o.out.end(), row), {});
}

// Returns the same text of `size` bytes in each call: words of 1 to 12 letters, about one line
// break in nine gaps.
std::string prose(std::size_t size) {
  std::string text;
  for (unsigned state = 1; text.size() < size;) {
    state = state * 1103515245 + 12345;
    text.append(1 + state / 65536 % 12, static_cast<char>('a' + state / 4096 % 26));
    text += state / 1048576 % 9 == 0 ? '\n' : ' ';
  }
  text.resize(size);
  return text;
}

std::string every_byte_many_times() {
  std::string bytes;
  unsigned state = 7;
  for (int i = 0; i < 5000; ++i) {
    state = state * 1103515245 + 12345;
    bytes += static_cast<char>(state / 65536 % 256);
  }
  return bytes;
}

// A file that exists as long as this object.
class file {
 public:
  explicit file(const std::string& text) {
    const char* const folder = std::getenv("TEST_TMPDIR");
    name_ = std::string(folder != nullptr ? folder : "/tmp") + "/demo_test.XXXXXX";
    const int fd = ::mkstemp(name_.data());
    REQUIRE(fd >= 0);
    std::FILE* const f = ::fdopen(fd, "w");
    std::fwrite(text.data(), 1, text.size(), f);
    REQUIRE(std::fclose(f) == 0);
  }
  file(const file&) = delete;
  file& operator=(const file&) = delete;
  ~file() { std::remove(name_.c_str()); }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

}  // namespace

TEST_CASE("the totals of a text are those of wc, with any batch size and from a file or a pipe") {
  const std::string texts[] = {"",
                               "\n",
                               "one",
                               " ",
                               "one two\n three\t\n\n",
                               "no end ",
                               "\n\n\nx ",
                               "a\vb\fc\rd e",
                               std::string(20000, 'x'),
                               prose(20000)};
  for (const std::string& text : texts) {
    const counts expected = wc(text);
    const file f(text);
    for (const char* const batch : {"7", "4096", "262144"}) {
      CAPTURE(text.substr(0, 30));
      CAPTURE(batch);
      CHECK(totals(run(demo({"--workers", "3", "--batch", batch, f.name()}))) == expected);
      CHECK(totals(run(demo({"--workers=1", "--batch", batch}), text)) == expected);
    }
  }
}

TEST_CASE("the totals of a binary file are those of wc") {
  const std::string bytes = every_byte_many_times();
  counts expected = wc(bytes);
  const file f(bytes);
  // Versions of wc differ in whether a control character alone is a word.
  const bool same_rule = wc(" \1 ").words == "0";
  for (const char* const batch : {"1", "13", "1000"}) {
    CAPTURE(batch);
    counts found = totals(run(demo({"--batch", batch, f.name()})));
    if (!same_rule) found.words = expected.words;
    CHECK(found == expected);
  }
}

TEST_CASE("the totals are those of wc although workers die") {
  const std::string text = prose(300'000);
  const counts expected = wc(text);
  const file f(text);
  unsigned long sent_again = 0;
  for (const char* const seed : {"1", "2", "3", "4", "5"}) {
    for (const char* const kill : {"1", "3", "7"}) {
      CAPTURE(seed);
      CAPTURE(kill);
      const words arguments{"--workers=8", "--batch=2000", "--kill", kill, "--seed", seed};
      words with_file = arguments;
      with_file.push_back(f.name());
      const outcome from_file = run(demo(with_file));
      CHECK(totals(from_file) == expected);
      CHECK(deaths(from_file) == std::atoi(kill));
      sent_again += number_before(from_file, "sent again");
      const outcome from_pipe = run(demo(arguments), text);
      CHECK(totals(from_pipe) == expected);
      CHECK(deaths(from_pipe) == std::atoi(kill));
    }
  }
  CHECK(sent_again > 0);
}

TEST_CASE("with fewer batches than workers, as many workers die as --kill names") {
  for (const char* const text : {"", "word", "two words\n"}) {
    CAPTURE(text);
    const outcome o = run(demo({"--workers=5", "--kill=4"}), text);
    CHECK(totals(o) == wc(text));
    CHECK(deaths(o) == 4);
  }
}

TEST_CASE("two runs with the same seed print the same report") {
  const file f(prose(200'000));
  const words arguments{"--workers=6", "--kill=4", "--batch=1000", "--seed=42", f.name()};
  const outcome once = run(demo(arguments));
  CHECK(once.status == 0);
  CHECK(run(demo(arguments)).out == once.out);
}

TEST_CASE("sends to a full queue wait for room, and every batch is answered") {
  const file f(prose(500'000));
  const outcome o = run(demo({"--workers=2", "--batch=1000", f.name()}));
  CHECK(number_before(o, "sent \\(") == 500);
  CHECK(number_before(o, "waited for room") > 0);
  CHECK(number_before(o, "received") == 500);
}

TEST_CASE("when all workers are killed the demo prints one error and no totals") {
  for (const std::string& text : {std::string(), std::string("short"), prose(100'000)}) {
    CAPTURE(text.size());
    const outcome o = run(demo({"--workers=3", "--kill=3", "--batch=512"}), text);
    CHECK(o.status == 1);
    CHECK(o.out.empty());
    CHECK(o.err == "demo: all workers died: no totals\n");
  }
}

TEST_CASE("Ctrl-C unwinds the demo, which prints the counts so far, marked as partial") {
  program p(demo({"--workers=4", "--kill=2", "--batch=4096"}));
  // More than a pipe holds, so that the demo has read most of it when all is written.
  REQUIRE(p.write(prose(1'000'000)));
  p.signal(SIGINT);
  CHECK_FALSE(p.read_until("\ntotal:"));  // to the end of the output
  const outcome o = p.finish();
  CHECK(o.status == 130);
  CHECK(o.err.empty());
  CHECK(o.out.starts_with("interrupted: a partial count\n"));
  CHECK(number_before(o, "words, \\d+ bytes\n$") > 0);
  CHECK(o.out.find("\ncounted until interrupted: ") != std::string::npos);
}

TEST_CASE("a bad file or option is reported in one line on standard error") {
  const struct {
    words arguments;
    int status;
    std::string err;
  } cases[] = {
      {{"/nowhere/nothing"}, 1, "demo: /nowhere/nothing: No such file or directory\n"},
      {{"/"}, 1, "demo: /: Is a directory\n"},
      {{"--workers", "0"}, 2, "demo: bad number for --workers: 0; see demo --help\n"},
      {{"--workers", "65"}, 2, "demo: bad number for --workers: 65; see demo --help\n"},
      {{"--workers"}, 2, "demo: --workers needs a number; see demo --help\n"},
      {{"--batch=4k"}, 2, "demo: bad number for --batch: 4k; see demo --help\n"},
      {{"--batch=262145"}, 2, "demo: bad number for --batch: 262145; see demo --help\n"},
      {{"--seed", ""}, 2, "demo: bad number for --seed: ; see demo --help\n"},
      {{"--kill", "-1"}, 2, "demo: bad number for --kill: -1; see demo --help\n"},
      {{"--kill", "5"}, 2, "demo: cannot destroy 5 of 4 workers; see demo --help\n"},
      {{"--frob"}, 2, "demo: unknown option --frob; see demo --help\n"},
      {{"one", "two"}, 2, "demo: more than one file: two; see demo --help\n"},
      {{"--", "--frob"}, 1, "demo: --frob: No such file or directory\n"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.err);
    const outcome o = run(demo(c.arguments));
    CHECK(o.status == c.status);
    CHECK(o.out.empty());
    CHECK(o.err == c.err);
  }
}

TEST_CASE("--help prints every option on standard output") {
  const outcome o = run(demo({"--help"}));
  CHECK(o.status == 0);
  CHECK(o.err.empty());
  for (const char* const option : {"--workers", "--batch", "--kill", "--seed", "--help"}) {
    CAPTURE(option);
    CHECK(o.out.find(option) != std::string::npos);
  }
}
