// pmap, as its users run it: in pipes, on a terminal, and with Ctrl-C.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "program.h"
#include "tests/temporary_folder.h"

namespace {

const std::string pmap = "tools/examples/pmap";

// The lines in an order that does not depend on which command was faster.
std::vector<std::string> sorted_lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  return lines;
}

using lines = std::vector<std::string>;

}  // namespace

TEST_CASE("pmap runs a command for each line, and puts the line in front of what it writes") {
  const outcome o = run({pmap, "-j", "3", "sh", "-c", "echo to {}; echo of $0 >&2"}, "a\n\nb\nc");
  CHECK(o.status == 0);
  CHECK(sorted_lines(o.out) == lines{"a: to a", "b: to b", "c: to c"});
  CHECK(sorted_lines(o.err).size() == 3);
  const outcome last = run({pmap, "-q", "-j", "1", "echo", "the line is"}, "one\ntwo");
  CHECK(last.out == "the line is one\nthe line is two\n");
  CHECK(run({pmap, "false"}).status == 0);  // no line
}

TEST_CASE("pmap exits as the first line's command that has failed, and says which have") {
  const std::string script = "test {} = b && exit 7; test {} = c && kill -9 $$; test {} != d";
  const outcome o = run({pmap, "-j", "4", "sh", "-c", script}, "a\nb\nc\nd\n");
  CHECK(o.status == 7);
  CHECK(sorted_lines(o.err) ==
        lines{"pmap: b: exited with 7", "pmap: c: ended by signal 9", "pmap: d: exited with 1"});
  const outcome none = run({pmap, "/nowhere/program"}, "a\n");
  CHECK(none.status == 127);
  CHECK(none.err.find("/nowhere/program: No such file or directory") != std::string::npos);
  const temporary_folder folder;
  CHECK(run({pmap, folder.path()}, "a\n").status == 126);
}

TEST_CASE("pmap cuts a line that is too long into parts, and refuses one of its input") {
  const outcome o = run({pmap, "sh", "-c", "head -c 150000 /dev/zero | tr '\\0' x"}, "a\n");
  CHECK(o.status == 0);
  CHECK(o.out.size() == 150'000 + 3 * std::string_view("a: \n").size());
  const outcome input = run({pmap, "true"}, std::string(70'000, 'x') + "\n");
  CHECK(input.status == 1);
  CHECK(input.err == "pmap: input line 1: the peer has sent more than the limit allows\n");
}

TEST_CASE("pmap runs N commands at a time, and ends them on Ctrl-C") {
  const temporary_folder folder;
  for (const char* name : {"a", "b", "c"}) REQUIRE(::mkfifo((folder / name).c_str(), 0600) == 0);
  const std::string script = "echo $$; read line < " + folder.path() + "/{}; echo got $line";
  program p({pmap, "-j", "2", "sh", "-c", script});
  p.write("a\nb\nc\n");
  REQUIRE(p.read_until("a: "));
  REQUIRE(p.read_until("b: "));
  CHECK(p.output().find("c: ") == std::string::npos);
  std::ofstream(folder / "a") << "text\n";
  REQUIRE(p.read_until("a: got text\n"));
  REQUIRE(p.read_until("c: "));
  p.signal(SIGINT);
  const outcome o = p.finish();
  CHECK(o.status == 128 + SIGINT);
  CHECK(o.err == "pmap: ended 2 running commands\n");
  for (const char* name : {"b", "c"}) {
    CAPTURE(name);
    const std::size_t at = o.out.find(std::string(name) + ": ");
    const pid_t pid = std::atoi(o.out.c_str() + at + 3);
    REQUIRE(pid > 0);
    CHECK(::kill(pid, 0) != 0);
    CHECK(errno == ESRCH);
  }
}

TEST_CASE("pmap ends its commands when nobody reads its output any more") {
  program p({pmap, "-j", "2", "sh", "-c", "while echo line; do :; done"});
  p.write("a\nb\n");
  REQUIRE(p.read_until("line\n"));
  p.close_output();
  const outcome o = p.finish();
  CHECK(o.status == 1);
  CHECK(o.err.find("Broken pipe") != std::string::npos);
}

TEST_CASE("pmap shows its progress on a terminal") {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  REQUIRE(::grantpt(terminal) == 0);
  REQUIRE(::unlockpt(terminal) == 0);
  const std::string name = ::ptsname(terminal);
  program p({"/bin/sh", "-c", "exec $0 -j 1 sh -c 'echo to $0; test {} = a' 2>" + name, pmap});
  p.write("a\nb\n");
  const outcome o = p.finish();
  CHECK(o.status == 1);
  CHECK(sorted_lines(o.out).size() == 2);
  std::string shown;
  std::array<char, 1000> room;
  for (ssize_t n; (n = ::read(terminal, room.data(), room.size())) > 0;) {
    shown.append(room.data(), static_cast<std::size_t>(n));
  }
  ::close(terminal);
  CAPTURE(shown);
  CHECK(shown.find("\r\x1b[K0 done, 1 running, 0 failed") != std::string::npos);
  CHECK(shown.find("\r\x1b[Kpmap: b: exited with 1\r\n2 done, 0 running, 1 failed") !=
        std::string::npos);
  CHECK(shown.ends_with("\r\x1b[K"));  // it leaves nothing behind
}

TEST_CASE("pmap says what is wrong with its arguments") {
  CHECK(run({pmap, "--help"}).out.starts_with("usage: pmap "));
  struct row {
    std::vector<std::string> arguments;
    std::string error;
  };
  for (const row& r : {
           row{{}, "pmap: no command; see pmap --help\n"},
           row{{"-j", "2"}, "pmap: no command; see pmap --help\n"},
           row{{"-j", "0", "true"}, "pmap: -j takes a number from 1 on, not \"0\"\n"},
           row{{"-j", "2x", "true"}, "pmap: -j takes a number from 1 on, not \"2x\"\n"},
           row{{"-j"}, "pmap: -j takes a number from 1 on, not \"\"\n"},
           row{{"-x", "true"}, "pmap: no option -x; see pmap --help\n"},
       }) {
    CAPTURE(r.error);
    std::vector<std::string> command{pmap};
    command.insert(command.end(), r.arguments.begin(), r.arguments.end());
    const outcome o = run(command);
    CHECK(o.status == 2);
    CHECK(o.err == r.error);
  }
}
