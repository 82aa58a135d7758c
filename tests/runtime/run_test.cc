#include "kedge/runtime/run.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "child_checks.h"
#include "drain.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_timeout.h"
#include "tests/temporary_folder.h"

namespace {

using namespace std::chrono_literals;
using kedge::command;
using kedge::errc;
using kedge::has_no_child;
using kedge::loop;
using kedge::result;
using kedge::run_output;
using kedge::task;

command shell(std::string_view script) {
  return {"sh", "-c", script};
}

// A named pipe into which the program writes when it is ready. (An end would be noticed by a timer
// only.)
class start_line {
 public:
  start_line() { REQUIRE(::mkfifo(path_.c_str(), 0600) == 0); }
  // What a script does when it is ready.
  std::string in_script() const { return "echo > " + path_ + "; "; }
  // Drives the loop until the program is ready.
  void await(loop& l) {
    kedge::descriptor d(l, ::open(path_.c_str(), O_RDONLY | O_NONBLOCK), kedge::ownership::owned);
    std::byte none{};
    CHECK(l.run(d.read_some(std::span(&none, 1))).value() == 1);
  }

 private:
  temporary_folder folder_;
  std::string path_ = folder_ / "start";
};

TEST_CASE("run gives the status and both outputs") {
  loop l;
  const run_output made = l.run(kedge::run(shell("echo out; echo err >&2; exit 3"))).value();
  CHECK(made.status.code() == 3);
  CHECK(made.output == "out\n");
  CHECK(made.error == "err\n");
  CHECK_FALSE(made.is_truncated);
  CHECK(has_no_child());
}

TEST_CASE("a command is awaited where it is written") {
  loop l;
  const auto body = []() -> task<std::string> {
    const std::string text(100, 'x');
    const auto [a, b] = co_await kedge::when_all(kedge::run({"echo", text}), kedge::run({"true"}));
    co_return a.value().output + (b.value().status.success() ? "" : "failed");
  };
  CHECK(l.run(body()) == std::string(100, 'x') + "\n");
}

TEST_CASE("run reads two outputs that are larger than a pipe") {
  loop l;
  const char* const script =
      "i=0; while [ $i -lt 2000 ]; do printf '%0100d' $i; printf '%0100d' $i >&2; i=$((i+1)); done";
  const run_output made = l.run(kedge::run(shell(script))).value();
  CHECK(made.output.size() == 200'000);
  CHECK(made.output == made.error);
  CHECK(made.output.substr(199'990) == "0000001999");
  CHECK_FALSE(made.is_truncated);
}

TEST_CASE("run keeps the first bytes of each output, to the limit, and the program goes on") {
  loop l;
  const run_output made =
      l.run(kedge::run(shell("echo 123456789; echo ab >&2; exit 4"), {.limit = 4})).value();
  CHECK(made.output == "1234");
  CHECK(made.error == "ab\n");
  CHECK(made.is_truncated);
  CHECK(made.status.code() == 4);
  CHECK_FALSE(l.run(kedge::run({"echo", "123"}, {.limit = 4})).value().is_truncated);
  const run_output none = l.run(kedge::run({"echo", "123"}, {.limit = 0})).value();
  CHECK(none.output.empty());
  CHECK(none.is_truncated);
}

TEST_CASE("the input of run is empty, or a file") {
  loop l;
  CHECK(l.run(kedge::run({"cat"})).value().output.empty());
  const temporary_folder folder;
  std::ofstream(folder / "in") << "text";
  const kedge::descriptor in(l, ::open((folder / "in").c_str(), O_RDONLY | O_CLOEXEC),
                             kedge::ownership::owned);
  CHECK(l.run(kedge::run({"cat"}, {.input = in})).value().output == "text");
}

TEST_CASE("run passes its options on to the process") {
  loop l;
  const std::string_view variables[] = {"A=1"};
  CHECK(l.run(kedge::run(shell("echo $A"), {.environment = variables})).value().output == "1\n");
  CHECK(l.run(kedge::run({"pwd"}, {.directory = "/"})).value().output == "/\n");
}

TEST_CASE("run throws what the constructor of a process throws") {
  loop l;
  const auto start = [&](const command& what, const kedge::run_options& options = {}) {
    static_cast<void>(l.run(kedge::run(what, options)));
  };
  CHECK_THROWS_AS(start({"/no/such/program"}), std::system_error);
  CHECK_THROWS_AS(start({"true"}, {.directory = "/no/such/folder"}), std::system_error);
  CHECK_THROWS_AS(start({"true"}, {.user = "kedge-no-such-user"}), std::system_error);
  CHECK_THROWS_AS(start({"true"}, {.input = kedge::pipe}), std::system_error);
  CHECK(has_no_child());
}

TEST_CASE("a cancelled run sends SIGTERM, and ends when the program has ended") {
  kedge::virtual_time time;
  loop l(time);
  start_line ready;
  const std::string script = ready.in_script() + "exec sleep 1000";
  std::optional<result<run_output>> end;
  l.spawn([&]() -> task<> { end = co_await kedge::with_timeout(1h, kedge::run(shell(script))); });
  ready.await(l);
  time.advance(1h);
  while (!end) l.run_once();  // the time of a SIGKILL does not come
  CHECK(end->error() == errc::timed_out);
  CHECK(has_no_child());
  CHECK(l.timers().empty());
}

TEST_CASE("a cancelled run kills the group of a program that ignores SIGTERM, after the grace") {
  kedge::virtual_time time;
  loop l(time);
  start_line ready;
  // The sleep ignores SIGTERM too.
  const std::string script = "trap '' TERM; sleep 1000 & " + ready.in_script() + "wait";
  std::optional<bool> was_cancelled;
  l.spawn([&]() -> task<> {
    const auto end = co_await kedge::attempt(kedge::run(shell(script), {.grace = 2s}));
    was_cancelled = end.cancelled();
  });
  ready.await(l);
  l.cancel();
  kedge::settle(l);
  time.advance(1999ms);
  kedge::settle(l);
  CHECK_FALSE(was_cancelled);
  CHECK_FALSE(has_no_child());
  time.advance(1ms);
  while (!was_cancelled) l.run_once();
  CHECK(*was_cancelled);
  CHECK(has_no_child());
}

TEST_CASE("a cancelled run kills what is left of the group when its program has ended") {
  loop l;
  start_line ready;
  const temporary_folder folder;
  const std::string alive = folder / "alive";  // a named pipe that the rest of the group holds open
  REQUIRE(::mkfifo(alive.c_str(), 0600) == 0);
  const kedge::descriptor held(l, ::open(alive.c_str(), O_RDONLY | O_NONBLOCK),
                               kedge::ownership::owned);
  const std::string script =
      "(trap '' TERM; exec >" + alive + " 2>&1; " + ready.in_script() + "exec sleep 1000) & wait";
  bool has_ended = false;
  l.spawn([&]() -> task<> {
    const auto end = co_await kedge::attempt(kedge::run(shell(script), {.grace = 1h}));
    has_ended = end.cancelled();
  });
  ready.await(l);
  l.cancel();
  while (!has_ended) l.run_once();
  pollfd p{held.native_handle(), POLLIN, 0};
  while (::poll(&p, 1, -1) < 0) continue;  // the sleep ends
  CHECK((p.revents & POLLHUP) != 0);
}

TEST_CASE("a run that is cancelled after its program has ended kills what holds its outputs") {
  loop l;
  start_line ready;
  const std::string script = "(" + ready.in_script() + "sleep 1000) & exit 0";
  bool has_ended = false;
  l.spawn([&]() -> task<> {
    const auto end = co_await kedge::attempt(kedge::run(shell(script)));
    has_ended = end.cancelled();
  });
  ready.await(l);
  l.cancel();
  while (!has_ended) l.run_once();
  CHECK(has_no_child());
}

TEST_CASE("a run that is destroyed with its loop leaves no child") {
  {
    loop l;
    l.spawn(kedge::run(shell("trap '' TERM; sleep 1000")));
    l.poll();
    CHECK_FALSE(has_no_child());
  }
  kedge::await_no_child();
}

}  // namespace
