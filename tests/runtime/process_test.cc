#include "kedge/runtime/process.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "byte_io.h"
#include "child_checks.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/run.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "tests/temporary_folder.h"

namespace {

using namespace std::chrono_literals;
using kedge::command;
using kedge::descriptor;
using kedge::errc;
using kedge::exit_status;
using kedge::has_no_child;
using kedge::is_child;
using kedge::loop;
using kedge::process;
using kedge::process_options;
using kedge::read_all;
using kedge::result;
using kedge::scoped_fd_limit;
using kedge::status_of_child;
using kedge::task;

exit_status end_of(loop& l, process& p) {
  return l.run(p.exited()).value();
}
// Runs a script to its end, and gives what it has written.
std::string output_of(loop& l, std::string_view script, process_options options = {}) {
  options.output = kedge::pipe;
  process p(l, {"sh", "-c", script}, options);
  std::string written = read_all(l, p.output());
  CHECK(end_of(l, p).success());
  return written;
}
// Runs a script to its end, and gives its exit code.
int code_of(loop& l, std::string_view script, const process_options& options = {}) {
  process p(l, {"sh", "-c", script}, options);
  return end_of(l, p).shell_code();
}

// They may be temporaries of a co_await expression, which g++ 12 destroys twice.
static_assert(std::is_trivially_destructible_v<process_options>);
static_assert(std::is_trivially_destructible_v<kedge::run_options>);
static_assert(!std::is_aggregate_v<command>);

// Returns the error with which a process cannot be started.
std::system_error start_error(loop& l, const command& what, const process_options& options = {}) {
  try {
    const process p(l, what, options);
  } catch (const std::system_error& e) {
    CHECK(has_no_child());
    return e;
  }
  FAIL("the process was started");
  return std::system_error(std::error_code());
}
bool says(const std::system_error& e, std::string_view part) {
  CAPTURE(e.what());
  return std::string_view(e.what()).find(part) != std::string_view::npos;
}

task<> exit_once(process& p, std::optional<result<exit_status>>& out) {
  out = co_await p.exited();
}

TEST_CASE("exited() gives the code or the signal that ended the process, each time") {
  loop l;
  SUBCASE("a code") {
    process p(l, {"sh", "-c", "exit 3"});
    for (int i = 0; i < 2; ++i) {
      const exit_status s = end_of(l, p);
      CHECK(s.code() == 3);
      CHECK_FALSE(s.signal());
      CHECK_FALSE(s.success());
      CHECK(s.shell_code() == 3);
      CHECK(s.native() == 3 << 8);
    }
  }
  SUBCASE("success") {
    process p(l, {"true"});
    CHECK(end_of(l, p).success());
  }
  SUBCASE("a signal") {
    process p(l, {"sh", "-c", "kill -TERM $$"});
    const exit_status s = end_of(l, p);
    CHECK(s.signal() == SIGTERM);
    CHECK_FALSE(s.code());
    CHECK_FALSE(s.success());
    CHECK(s.shell_code() == 128 + SIGTERM);
  }
  CHECK(has_no_child());
}

TEST_CASE("a process that has ended before it is awaited, or watched, gives its status") {
  loop l;
  for (int i = 0; i < 20; ++i) {
    process p(l, {"sh", "-c", "exit 4"});
    if (i % 2 == 0) kedge::await_zombie(p.pid());
    CHECK(end_of(l, p).code() == 4);
  }
}

TEST_CASE("pipes carry the child's standard streams") {
  loop l;
  process p(l, {"sh", "-c", "read line; echo got $line; echo wrong >&2; cat"},
            {.input = kedge::pipe, .output = kedge::pipe, .error = kedge::pipe});
  CHECK(l.run(p.input().write_some(kedge::bytes("text\nrest"))).value() == 9);
  p.input().close();
  CHECK(read_all(l, p.output()) == "got text\nrest");
  CHECK(read_all(l, p.error()) == "wrong\n");
  CHECK(end_of(l, p).success());
}

TEST_CASE("streams without a pipe have no descriptor") {
  loop l;
  process p(l, {"true"}, {.output = kedge::pipe});
  CHECK_FALSE(p.input());
  CHECK(p.output());
  CHECK_FALSE(p.error());
  CHECK(end_of(l, p).success());
}

TEST_CASE("a child reads the end of the file from the null device, and writes into it") {
  loop l;
  process p(l, {"sh", "-c", "cat && echo lost"},
            {.input = kedge::null_device, .output = kedge::null_device});
  CHECK(end_of(l, p).success());
}

TEST_CASE("a child's streams are the files of the descriptors that are given") {
  loop l;
  const temporary_folder folder;
  const auto open = [&](const char* name, int flags) {
    const int fd = ::open((folder / name).c_str(), flags | O_CLOEXEC, 0600);
    return descriptor(l, fd, kedge::ownership::owned);
  };
  const auto text_of = [&](const char* name) {
    std::ostringstream text;
    text << std::ifstream(folder / name).rdbuf();
    return text.str();
  };
  std::ofstream(folder / "in") << "given";
  {
    const descriptor in = open("in", O_RDONLY);
    const descriptor both = open("both", O_WRONLY | O_CREAT | O_APPEND);
    CHECK(code_of(l, "cat; echo , error >&2", {.input = in, .output = both, .error = both}) == 0);
    CHECK(text_of("both") == "given, error\n");
  }
  SUBCASE("also if they are this program's own standard streams, in another order") {
    // In a child of fork, whose standard streams may be replaced.
    CHECK(status_of_child([&] {
            loop own;
            const int made = ::open((folder / "out").c_str(), O_WRONLY | O_CREAT, 0600);
            if (::dup2(made, STDOUT_FILENO) < 0) return 1;
            const int also = ::open((folder / "err").c_str(), O_WRONLY | O_CREAT, 0600);
            if (::dup2(also, STDERR_FILENO) < 0) return 2;
            const descriptor out(own, STDOUT_FILENO, kedge::ownership::borrowed);
            const descriptor err(own, STDERR_FILENO, kedge::ownership::borrowed);
            return code_of(own, "echo out; echo err >&2", {.output = err, .error = out});
          }) == 0);
    CHECK(text_of("out") == "err\n");
    CHECK(text_of("err") == "out\n");
  }
}

TEST_CASE("a pipe of one child is a stream of another one, which blocks") {
  loop l;
  const auto blocks = [](const descriptor& d) {
    return (::fcntl(d.native_handle(), F_GETFL) & O_NONBLOCK) == 0;
  };
  SUBCASE("the output of the first one") {
    process first(l, {"sh", "-c", "read line; echo $line"},
                  {.input = kedge::pipe, .output = kedge::pipe});
    process second(l, {"cat"}, {.input = first.output(), .output = kedge::pipe});
    CHECK(blocks(first.output()));
    // This program still reads it without blocking.
    std::optional<result<std::size_t>> read;
    std::array<std::byte, 16> buffer{};
    l.spawn([&]() -> task<> { read = co_await first.output().read_some(buffer); });
    l.poll();
    CHECK_FALSE(read);
    first.output().close();
    CHECK(l.run(first.input().write_some(kedge::bytes("text\n"))).value() == 5);
    CHECK(read_all(l, second.output()) == "text\n");
    CHECK(end_of(l, first).success());
    CHECK(end_of(l, second).success());
  }
  SUBCASE("the input of the second one") {
    process second(l, {"sh", "-c", "read line; cat | wc -c"},
                   {.input = kedge::pipe, .output = kedge::pipe});
    process first(l, {"sh", "-c", "echo; exec head -c 300000 /dev/zero"},
                  {.output = second.input()});
    CHECK(blocks(second.input()));
    second.input().close();
    CHECK(std::stoi(read_all(l, second.output())) == 300'000);
    CHECK(end_of(l, first).success());
    CHECK(end_of(l, second).success());
  }
  SUBCASE("a write of this program goes on without blocking") {
    process reader(l, {"sleep", "1000"}, {.input = kedge::pipe});
    const process beside(l, {"sleep", "1000"}, {.output = reader.input()});
    CHECK(blocks(reader.input()));
    const std::string text(300'000, 'x');  // more than the pipe has room for
    std::size_t written = 0;
    l.spawn([&]() -> task<> {
      for (;;) {
        const auto n = co_await reader.input().write_some(kedge::bytes(text));
        if (!n) co_return;
        written += *n;
      }
    });
    kedge::settle(l);
    CHECK(written > 0);
    l.cancel();
    kedge::drain(l);
  }
}

TEST_CASE("a non-blocking socket that is given to a child blocks") {
  loop l;
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  descriptor theirs(l, ends[0], kedge::ownership::owned);
  descriptor ours(l, ends[1], kedge::ownership::owned);
  process p(l, {"sh", "-c", "echo begun; exec cat"}, {.input = theirs, .output = kedge::pipe});
  CHECK((::fcntl(theirs.native_handle(), F_GETFL) & O_NONBLOCK) == 0);
  theirs.close();
  CHECK(l.run(ours.write_some(kedge::bytes("x"))).value() == 1);
  ours.close();
  CHECK(read_all(l, p.output()) == "begun\nx");
  CHECK(end_of(l, p).success());
}

TEST_CASE("a program without standard streams has children with pipes, and without the others") {
  CHECK(status_of_child([] {
          for (int fd = 0; fd < 3; ++fd) ::close(fd);
          loop own;
          process p(own, {"sh", "-c", "test -e /dev/fd/0 || echo none"}, {.output = kedge::pipe});
          std::array<std::byte, 16> buffer{};
          const auto n = own.run(p.output().read_some(buffer));
          if (!n || *n != 5) return 1;
          if (p.output().native_handle() < 3) return 2;
          return end_of(own, p).shell_code();
        }) == 0);
}

TEST_CASE("a close-on-exec file with the number of a closed stream is not inherited") {
  const temporary_folder folder;
  std::ofstream(folder / "secret") << "secret";
  CHECK(status_of_child([&] {
          ::close(STDIN_FILENO);
          if (::open((folder / "secret").c_str(), O_RDONLY | O_CLOEXEC) != STDIN_FILENO) return 1;
          loop own;
          process p(own, {"cat"}, {.output = kedge::pipe});
          std::array<std::byte, 16> buffer{};
          const auto n = own.run(p.output().read_some(buffer));
          if (n || n.error() != errc::end_of_file) return 2;
          if (!end_of(own, p).success()) return 3;  // it has a standard input
          const descriptor in(own, STDIN_FILENO, kedge::ownership::borrowed);
          process given(own, {"grep", "-q", "secret"}, {.input = in});
          return end_of(own, given).shell_code();
        }) == 0);
}

TEST_CASE("the child has the environment that is given, and else the program's") {
  loop l;
  ::setenv("KEDGE_OWN", "of the program", 1);
  CHECK(output_of(l, "echo $KEDGE_OWN") == "of the program\n");
  const std::string_view variables[] = {"A=1", "B=two words"};
  CHECK(output_of(l, "echo $A, $B[$KEDGE_OWN]", {.environment = variables}) == "1, two words[]\n");
  CHECK(output_of(l, "echo [$A$KEDGE_OWN]", {.environment = std::span<const std::string_view>()}) ==
        "[]\n");
}

TEST_CASE("the child begins in the directory, where it also looks for its program") {
  loop l;
  const temporary_folder folder;
  std::ofstream(folder / "script") << "#!/bin/sh\npwd -P\n";
  REQUIRE(::chmod((folder / "script").c_str(), 0700) == 0);
  process p(l, {"./script"}, {.output = kedge::pipe, .directory = folder.path()});
  std::array<char, 4096> real{};
  REQUIRE(::realpath(folder.path().c_str(), real.data()) != nullptr);
  CHECK(read_all(l, p.output()) == std::string(real.data()) + "\n");
  CHECK(end_of(l, p).success());
}

TEST_CASE("a command is made from a list, a vector or the arguments of main") {
  loop l;
  const std::vector<std::string> words = {"sh", "-c", "exit $1", "sh", "5"};
  process from_vector(l, command(words));
  CHECK(end_of(l, from_vector).code() == 5);
  char shell[] = "sh", option[] = "-c", script[] = "exit 6";
  char* arguments[] = {shell, option, script};
  process from_main(l, command(std::span(arguments)));
  CHECK(end_of(l, from_main).code() == 6);
}

TEST_CASE("signals have their default effect in the child, whatever the program has set") {
  loop l;
  struct sigaction before{};
  struct sigaction ignoring{};
  ignoring.sa_handler = SIG_IGN;
  sigset_t blocked, old;
  sigemptyset(&blocked);
  for (const int number : {SIGUSR1, SIGUSR2, SIGTERM}) sigaddset(&blocked, number);
  ::sigaction(SIGUSR1, &ignoring, &before);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &old);
  const kedge::signal_set watched(l, {SIGUSR2});
  for (const char* const name : {"USR1", "USR2", "TERM"}) {
    CAPTURE(name);
    process p(l, {"sh", "-c", std::string("kill -") + name + " $$; exit 9"});
    CHECK(end_of(l, p).signal());
  }
  // The program's own are as before.
  struct sigaction now{};
  ::sigaction(SIGUSR1, nullptr, &now);
  CHECK((now.sa_handler == SIG_IGN));
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, &old, &mask);
  CHECK(sigismember(&mask, SIGUSR1) == 1);
  CHECK(sigismember(&mask, SIGINT) == 0);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("a child inherits the fds above 2 that are named, and no others") {
  loop l;
  const int low = ::fcntl(STDIN_FILENO, F_DUPFD, 20);
  const int high = ::fcntl(STDIN_FILENO, F_DUPFD, 700);  // beyond the first calls of poll()
  const int named = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 30);
  REQUIRE(high >= 700);
  const auto is_open = [&](int fd) {
    const int fds[] = {named};
    const std::string script = "test -e /dev/fd/" + std::to_string(fd);
    return code_of(l, script, {.inherited_fds = fds}) == 0;
  };
  CHECK_FALSE(is_open(low));
  CHECK_FALSE(is_open(high));
  CHECK(is_open(named));
  CHECK(::fcntl(named, F_GETFD) == FD_CLOEXEC);
  CHECK(::fcntl(low, F_GETFD) == 0);
  for (const int fd : {low, high, named}) ::close(fd);
}

TEST_CASE("a process with a group of its own leads it, and signals reach all of the group") {
  loop l;
  process p(l, {"sh", "-c", "sleep 1000 & echo ready; wait"},
            {.output = kedge::pipe, .new_group = true});
  std::array<std::byte, 16> buffer{};
  CHECK(l.run(p.output().read_some(buffer)).value() == 6);
  CHECK(::getpgid(p.pid()) == p.pid());
  CHECK(p.signal(SIGTERM));
  CHECK(read_all(l, p.output()).empty());  // the sleep is gone too
  CHECK(end_of(l, p).signal() == SIGTERM);

  process beside(l, {"cat"}, {.input = kedge::pipe});
  CHECK(::getpgid(beside.pid()) == ::getpgrp());
  CHECK(beside.signal(SIGINT));
  CHECK(end_of(l, beside).signal() == SIGINT);
}

TEST_CASE("a signal cannot be sent to a process that was reaped, nor one that does not exist") {
  loop l;
  process p(l, {"cat"}, {.input = kedge::pipe});
  CHECK(p.signal(0));
  CHECK(p.signal(10'000).error() == std::errc::invalid_argument);
  p.input().close();
  CHECK(end_of(l, p).success());
  CHECK(p.signal(SIGTERM).error() == std::errc::no_such_process);
  const process moved = std::move(p);
  CHECK(p.signal(SIGTERM).error() == errc::closed);
  CHECK(p.pid() == -1);
}

// --- Bad input -----------------------------------------------------------------------------------

TEST_CASE("a program that cannot be executed gives the errno of exec, and its name") {
  loop l;
  const temporary_folder folder;
  std::ofstream(folder / "data") << "data";
  SUBCASE("it is in no folder of PATH") {
    const std::system_error e = start_error(l, {"kedge-no-such-program", "x"});
    CHECK(e.code() == std::errc::no_such_file_or_directory);
    CHECK(says(e, "execution of kedge-no-such-program: "));
  }
  SUBCASE("it is a line with arguments") {
    const std::system_error e = start_error(l, "ls -l");
    CHECK(says(e, "execution of ls -l (arguments are words of their own): "));
  }
  SUBCASE("its path is not there") {
    const std::system_error e = start_error(l, {folder / "nothing"});
    CHECK(e.code() == std::errc::no_such_file_or_directory);
    CHECK(says(e, "execution of " + folder / "nothing: "));
  }
  SUBCASE("it is not executable") {
    CHECK(start_error(l, {folder / "data"}).code() == std::errc::permission_denied);
  }
  SUBCASE("it is below a file") {
    CHECK(start_error(l, {folder / "data/program"}).code() == std::errc::not_a_directory);
  }
  SUBCASE("it is no program") {
    REQUIRE(::chmod((folder / "data").c_str(), 0700) == 0);
    CHECK(start_error(l, {folder / "data"}).code() == std::errc::executable_format_error);
  }
}

TEST_CASE("the search in PATH goes on behind a file that cannot be executed, as execvp does") {
  loop l;
  const temporary_folder folder;
  std::ofstream(folder / "kedge-tool") << "no program";
  const std::string before = ::getenv("PATH");
  ::setenv("PATH", (folder.path() + ":/nowhere:" + folder / "bin").c_str(), 1);
  CHECK(start_error(l, {"kedge-tool"}).code() == std::errc::permission_denied);
  REQUIRE(::mkdir((folder / "bin").c_str(), 0700) == 0);
  std::ofstream(folder / "bin/kedge-tool") << "#!/bin/sh\nexit 8\n";
  REQUIRE(::chmod((folder / "bin/kedge-tool").c_str(), 0700) == 0);
  process p(l, {"kedge-tool"});
  CHECK(end_of(l, p).code() == 8);
  ::setenv("PATH", before.c_str(), 1);
}

TEST_CASE("a working directory that is not there gives its errno and its path") {
  loop l;
  const std::system_error e = start_error(l, {"true"}, {.directory = "/no/such/directory"});
  CHECK(e.code() == std::errc::no_such_file_or_directory);
  CHECK(says(e, "working directory /no/such/directory: "));
}

// Returns whether this process may become another user. A root of a user namespace of its own, as
// in Bazel's sandbox, may not.
bool may_become_another_user() {
  return status_of_child([] {
           return ::setgroups(0, nullptr) == 0 && ::setgid(65534) == 0 && ::setuid(65534) == 0 ? 0
                                                                                               : 1;
         }) == 0;
}

TEST_CASE("a user is looked up by name, and the right to become the user is needed") {
  loop l;
  SUBCASE("an unknown user") {
    const std::system_error e = start_error(l, {"true"}, {.user = "kedge-no-such-user"});
    CHECK(e.code() == std::errc::invalid_argument);
    CHECK(says(e, "user kedge-no-such-user: "));
  }
  SUBCASE("as root, the child is the user") {
    if (!may_become_another_user()) {
      MESSAGE("skipped: this process may not become another user");
      return;
    }
    CHECK(output_of(l, "id -un; id -G", {.user = "nobody"}) ==
          output_of(l, "echo nobody; id -G nobody"));
  }
  SUBCASE("not as root") {
    if (!may_become_another_user()) {
      MESSAGE("skipped: this process may not become another user");
      return;
    }
    CHECK(status_of_child([] {
            if (::setuid(65534) != 0) return 1;
            loop own;
            const std::system_error e = start_error(own, {"true"}, {.user = "root"});
            if (e.code() != std::errc::operation_not_permitted) return 2;
            return says(e, "user root: ") ? 0 : 3;
          }) == 0);
  }
}

TEST_CASE("options that make no sense give an error that names them") {
  loop l;
  using namespace std::string_view_literals;
  SUBCASE("a closed descriptor") {
    const descriptor none;
    const std::system_error e = start_error(l, {"true"}, {.output = none});
    CHECK(e.code() == std::errc::bad_file_descriptor);
    CHECK(says(e, "closed descriptor as output"));
  }
  SUBCASE("an inherited fd that is not open") {
    const int fds[] = {19'999};
    const std::system_error e = start_error(l, {"true"}, {.inherited_fds = fds});
    CHECK(e.code() == std::errc::bad_file_descriptor);
    CHECK(says(e, "inherited fd 19999"));
  }
  SUBCASE("a standard stream as an inherited fd") {
    const int fds[] = {STDERR_FILENO};
    const std::system_error e = start_error(l, {"true"}, {.inherited_fds = fds});
    CHECK(e.code() == std::errc::invalid_argument);
  }
  SUBCASE("a NUL in a text") {
    const std::string_view variables[] = {"A=1\0B=2"sv};
    CHECK(says(start_error(l, {"true"}, {.environment = variables}), "a variable"));
    CHECK(says(start_error(l, {"true"}, {.directory = "/\0x"sv}), "directory"));
    CHECK(says(start_error(l, {"true"}, {.user = "root\0x"sv}), "a user"));
    CHECK_THROWS_AS(command("a\0b"sv), std::system_error);
  }
  SUBCASE("a command without a word") {
    CHECK_THROWS_AS(command(std::vector<std::string>()), std::system_error);
    CHECK(start_error(l, {""}).code() == std::errc::no_such_file_or_directory);
  }
}

TEST_CASE("a process that is short of descriptors throws, and leaves no child and no descriptor") {
  loop l;
  {
    process first(l, {"true"});  // the kqueue has made its own descriptors
    CHECK(end_of(l, first).success());
  }
  const int lowest = ::dup(STDIN_FILENO);
  ::close(lowest);
  int failures = 0;
  for (rlim_t limit = static_cast<rlim_t>(lowest);; ++limit) {
    CAPTURE(limit);
    REQUIRE(limit < static_cast<rlim_t>(lowest) + 20);
    const bool started = [&] {
      const scoped_fd_limit few(limit);
      try {
        process p(l, {"true"},
                  {.input = kedge::null_device, .output = kedge::pipe, .error = kedge::pipe});
        CHECK(end_of(l, p).success());
        return true;
      } catch (const std::system_error& e) {
        CHECK(e.code() == std::errc::too_many_files_open);
        return false;
      }
    }();
    const int next = ::dup(STDIN_FILENO);
    ::close(next);
    CHECK(next == lowest);
    kedge::await_no_child();
    if (started) break;
    ++failures;
  }
  CHECK(failures >= 6);
}

// --- Dropping ------------------------------------------------------------------------------------

TEST_CASE("a dropped process is killed, and its loop reaps it in a later turn") {
  loop l;
  std::optional<process> p(std::in_place, l, command("cat"), process_options{.input = kedge::pipe});
  const pid_t pid = p->pid();
  SUBCASE("while it runs") {}
  SUBCASE("when it has ended, and was not awaited") {
    p->input().close();
    kedge::await_zombie(pid);
  }
  SUBCASE("when its end has been noticed") {
    p->input().close();
    l.run_once();
  }
  SUBCASE("by an assignment") {
    p = process(l, {"true"});
    while (is_child(pid)) l.run_once();
    CHECK(end_of(l, *p).success());
  }
  p.reset();
  while (is_child(pid)) l.run_once();
  CHECK(has_no_child());
}

TEST_CASE("a dropped process with a group of its own is killed with the group") {
  loop l;
  std::optional<process> p(std::in_place, l,
                           command("sh", "-c", "trap '' TERM; sleep 1000 & echo ready; wait"),
                           process_options{.output = kedge::pipe, .new_group = true});
  descriptor output = std::move(p->output());
  std::array<std::byte, 16> buffer{};
  CHECK(l.run(output.read_some(buffer)).value() == 6);
  p.reset();
  CHECK(read_all(l, output).empty());  // also the sleep has left the pipe
  while (!has_no_child()) l.run_once();
}

TEST_CASE("a drop ends a wait in progress, and later ones, with errc::closed") {
  loop l;
  std::optional<process> p(std::in_place, l, command("cat"), process_options{.input = kedge::pipe});
  std::optional<result<exit_status>> first, second;
  auto later = p->exited();
  l.spawn(exit_once(*p, first));
  l.spawn(exit_once(*p, second));
  l.poll();
  CHECK_FALSE(first);
  CHECK(second->error() == errc::already_awaited);
  p.reset();
  while (!first) l.run_once();
  CHECK(first->error() == errc::closed);
  CHECK(l.run(std::move(later)).error() == errc::closed);
  while (!has_no_child()) l.run_once();
}

TEST_CASE("a moved process is awaited where it is, and the empty one gives errc::closed") {
  loop l;
  process p(l, {"sh", "-c", "exit 2"});
  process q = std::move(p);
  CHECK(end_of(l, q).code() == 2);
  CHECK(l.run(p.exited()).error() == errc::closed);
  CHECK(l.run(p.terminate(1s)).error() == errc::closed);
}

TEST_CASE("a process that outlives its loop gives errc::loop_gone, and can be signalled") {
  std::optional<loop> l(std::in_place);
  process p(*l, {"cat"}, {.input = kedge::pipe});
  l.reset();
  loop other;
  CHECK(other.run(p.exited()).error() == errc::loop_gone);
  CHECK(p.signal(SIGKILL));
  int status = 0;
  REQUIRE(::waitpid(p.pid(), &status, 0) == p.pid());
  CHECK(p.signal(SIGKILL).error() == std::errc::no_such_process);
}

TEST_CASE("in a forked child a process belongs to the parent, and is not killed") {
  loop l;
  std::optional<process> p(std::in_place, l, command("cat"), process_options{.input = kedge::pipe});
  std::optional<process> dropped(std::in_place, l, command("cat"),
                                 process_options{.input = kedge::pipe});
  dropped.reset();
  CHECK(status_of_child([&] {
          loop own;
          if (own.run(p->exited()).error() != errc::loop_gone) return 1;
          if (p->signal(SIGKILL)) return 2;
          p.reset();
          return 0;
        }) == 0);
  CHECK(p->signal(0));
  p->input().close();
  CHECK(end_of(l, *p).success());
  while (!has_no_child()) l.run_once();
}

// --- Other waits ---------------------------------------------------------------------------------

TEST_CASE("a status that another wait has taken is reported as lost, without a hang") {
  loop l;
  process p(l, {"sh", "-c", "read line; exit 5"}, {.input = kedge::pipe});
  std::optional<result<exit_status>> end;
  int status = 0;
  SUBCASE("during a wait for it") {
    l.spawn(exit_once(p, end));
    l.poll();
    p.input().close();
    REQUIRE(::waitpid(-1, &status, 0) == p.pid());
    while (!end) l.run_once();
  }
  SUBCASE("before a wait for it") {
    p.input().close();
    REQUIRE(::waitpid(-1, &status, 0) == p.pid());
    end = l.run(p.exited());
  }
  CHECK(WEXITSTATUS(status) == 5);
  CHECK(end->error() == std::errc::no_child_process);
  CHECK(p.signal(SIGTERM).error() == std::errc::no_such_process);
}

TEST_CASE("a program that ignores SIGCHLD loses the status, and learns of the end") {
  CHECK(status_of_child([] {
          std::signal(SIGCHLD, SIG_IGN);
          loop own;
          process p(own, {"cat"}, {.input = kedge::pipe});
          p.input().close();
          if (own.run(p.exited()).error() != std::errc::no_child_process) return 1;
          try {
            const process none(own, {"/nothing"});
          } catch (const std::system_error& e) {
            return e.code() == std::errc::no_such_file_or_directory ? 0 : 2;
          }
          return 3;
        }) == 0);
}

TEST_CASE("a loop does not wait for children that are not its own") {
  loop l;
  const pid_t stranger = ::fork();
  if (stranger == 0) _exit(7);
  kedge::await_zombie(stranger);
  process p(l, {"true"});
  CHECK(end_of(l, p).success());
  {
    const process dropped(l, {"cat"}, {.input = kedge::pipe});
  }
  while (l.run_once(0s)) continue;
  int status = 0;
  REQUIRE(::waitpid(stranger, &status, 0) == stranger);
  CHECK(WEXITSTATUS(status) == 7);
  while (!has_no_child()) l.run_once();
}

// --- terminate() ---------------------------------------------------------------------------------

TEST_CASE("terminate() sends SIGTERM, and SIGKILL when the grace has passed") {
  kedge::virtual_time time;
  loop l(time);
  const auto start = [&](const char* script) {
    process p(l, {"sh", "-c", script},
              {.input = kedge::pipe, .output = kedge::pipe, .new_group = true});
    std::array<std::byte, 16> buffer{};
    CHECK(l.run(p.output().read_some(buffer)).value() == 6);
    return p;
  };
  SUBCASE("a process that ends by SIGTERM") {
    process p = start("echo ready; read line");
    CHECK(l.run(p.terminate(5s)).value().signal() == SIGTERM);
  }
  SUBCASE("a process that exits on SIGTERM") {
    process p = start("trap 'exit 3' TERM; echo ready; while :; do :; done");
    CHECK(l.run(p.terminate(5s)).value().code() == 3);
  }
  SUBCASE("a process that ignores SIGTERM") {
    process p = start("trap '' TERM; echo ready; read line; sleep 1000");
    std::optional<result<exit_status>> end;
    l.spawn([&]() -> task<> { end = co_await p.terminate(5s); });
    kedge::settle(l);
    time.advance(4999ms);
    kedge::settle(l);
    CHECK_FALSE(end);
    CHECK(p.signal(0));
    time.advance(1ms);
    while (!end) l.run_once();
    CHECK(end->value().signal() == SIGKILL);
  }
  SUBCASE("a process that has ended") {
    process p = start("echo ready");
    kedge::await_zombie(p.pid());
    CHECK(l.run(p.terminate(5s)).value().success());
    CHECK(l.run(p.terminate(5s)).value().success());
  }
  SUBCASE("without a grace") {
    process p = start("trap '' TERM; echo ready; read line");
    CHECK(l.run(p.terminate(0s)).value().signal() == SIGKILL);
  }
  CHECK(has_no_child());
  CHECK(l.timers().empty());
}

TEST_CASE("terminate() kills what is left of the group when the child has ended") {
  loop l;
  process p(l, {"sh", "-c", "(trap '' TERM; echo; exec sleep 1000) & wait"},
            {.output = kedge::pipe, .new_group = true});
  std::array<std::byte, 16> buffer{};
  CHECK(l.run(p.output().read_some(buffer)).value() == 1);
  SUBCASE("by SIGTERM") {
    CHECK(l.run(p.terminate(1h)).value().signal() == SIGTERM);
  }
  SUBCASE("before") {
    CHECK(::kill(p.pid(), SIGINT) == 0);
    kedge::await_zombie(p.pid());
    CHECK(l.run(p.terminate(1h)).value().signal() == SIGINT);
  }
  SUBCASE("after a cancellation, when the status is taken") {
    bool has_ended = false;
    l.spawn([&]() -> task<> {
      static_cast<void>(co_await kedge::with_timeout(0s, p.terminate(1h)));
      has_ended = true;
    });
    while (!has_ended) l.run_once();
    CHECK(end_of(l, p).signal() == SIGTERM);
  }
  CHECK(read_all(l, p.output()).empty());  // the sleep is gone too
}

#if defined(PTRACE_SEIZE)
TEST_CASE("a child that a tracer holds after its end does not block the loop") {
  kedge::virtual_time time;
  loop l(time);
  std::optional<process> p(std::in_place, l, command("cat"), process_options{.input = kedge::pipe});
  const pid_t pid = p->pid();
  kedge::tracer holds(pid);
  if (!holds.is_allowed()) return;
  std::optional<result<exit_status>> end;
  SUBCASE("during a wait") {
    l.spawn(exit_once(*p, end));
    CHECK(p->signal(SIGKILL));
    holds.await_end();
    while (l.timers().empty()) l.run_once();
    CHECK_FALSE(end);
    time.advance(1ms);
    kedge::settle(l);
    CHECK_FALSE(end);
    CHECK(l.timers().size() == 1);
    SUBCASE("which goes on when it is let go") {
      holds.let_go();
      time.advance(2ms);
      kedge::drain(l);
      CHECK(end->value().signal() == SIGKILL);
    }
    SUBCASE("which is cancelled") {
      l.cancel();
      kedge::drain(l);
      holds.let_go();
      CHECK(end_of(l, *p).signal() == SIGKILL);
    }
  }
  SUBCASE("when it is dropped") {
    p.reset();
    holds.await_end();
    while (l.timers().empty()) l.run_once();
    CHECK(is_child(pid));
    holds.let_go();
    time.advance(1ms);
    kedge::settle(l);
  }
  SUBCASE("when a host drops it between drives, and drives when the handle is readable") {
    pollfd host{l.native_handle(), POLLIN, 0};
    CHECK(p->signal(SIGKILL));
    holds.await_end();
    while (::poll(&host, 1, 0) != 0) l.poll();  // the loop knows of the end
    p.reset();
    CHECK(is_child(pid));
    while (::poll(&host, 1, 0) != 0) l.poll();
    holds.let_go();
    time.advance(1ms);
    while (::poll(&host, 1, 0) != 0) l.poll();
  }
  CHECK_FALSE(is_child(pid));
  CHECK(l.timers().empty());
}
#endif

TEST_CASE("a wait for a process is described by its number") {
  loop l;
  process p(l, {"cat"}, {.input = kedge::pipe});
  std::optional<result<exit_status>> end;
  l.spawn(exit_once(p, end));
  l.poll();
  std::ostringstream out;
  l.dump(out);
  const std::string wanted = "waits for process " + std::to_string(p.pid()) + " to exit";
  CHECK(out.str().find(wanted) != std::string::npos);
  p.input().close();
  kedge::drain(l);
  CHECK(end->value().success());
}

}  // namespace
