#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "program.h"
#include "tests/temporary_folder.h"

namespace {

const std::string ask_once = "tools/examples/ask_once";
const std::string both = "tools/examples/both";
const std::string call_server = "tools/examples/mig/call_server";
const std::string channels = "tools/examples/channels";
const std::string daemon_program = "tools/examples/daemon";
const std::string find_leak = "tools/examples/find_leak";
const std::string follow = "tools/examples/follow";
const std::string forward_program = "tools/examples/forward";
const std::string hand_over = "tools/examples/hand_over";
const std::string hello = "tools/examples/hello";
const std::string impatient = "tools/examples/impatient";
const std::string lines = "tools/examples/lines";
const std::string nested = "tools/examples/nested";
const std::string pass_memory = "tools/examples/pass_memory";
const std::string publish = "tools/examples/publish";
const std::string restarts = "tools/examples/restarts";
const std::string retry_test = "tools/examples/retry_test";
const std::string serve_client = "tools/examples/mig/serve_client";
const std::string service = "tools/examples/service";
const std::string shared_picture = "tools/examples/shared_picture";
const std::string supervisor = "tools/examples/supervisor";
const std::string watch = "tools/examples/watch";
const std::string worker_pool = "tools/examples/worker_pool";

// A connection to a daemon.
class client {
 public:
  explicit client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::snprintf(name.sun_path, sizeof(name.sun_path), "%s", path.c_str());
    is_connected = ::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  }
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client() { ::close(fd_); }

  // Sends a request, and returns the answer.
  std::string ask() const {
    char answer[16] = {};
    if (::write(fd_, "?", 1) != 1) return "";
    const ssize_t n = ::read(fd_, answer, sizeof(answer));
    return n > 0 ? std::string(answer, static_cast<std::size_t>(n)) : "";
  }

  bool is_connected = false;

 private:
  int fd_;
};

// Returns how often `text` occurs.
int count_of(const std::string& out, const std::string& text) {
  int count = 0;
  for (std::size_t at = 0; (at = out.find(text, at)) != std::string::npos; at += text.size()) {
    ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("hello greets three, and has no time for the fourth") {
  const outcome o = run({hello});
  CHECK(o.status == 0);
  CHECK(o.out == "hello, Ada\nhello, Grace\nhello, Barbara\ntoo late\n");
}

TEST_CASE("both prints the lines of two commands, and ends with them") {
  const outcome o = run({both, "echo one; echo two", "echo three"});
  CHECK(o.status == 0);
  CHECK(o.out.find("1: one\n1: two\n") != std::string::npos);
  CHECK(o.out.find("2: three\n") != std::string::npos);
  CHECK(o.err.empty());
}

TEST_CASE("both ends the other command when one fails, and has its code") {
  const outcome o = run({both, "exec sleep 1000", "exit 3"});
  CHECK(o.status == 3);
  CHECK(o.err == "both: command 1: ended with 143\n");
}

TEST_CASE("both ends its commands on Ctrl-C, with all that they have started") {
  program p({both, "sleep 1000 & echo up; wait", "exec sleep 1000"});
  REQUIRE(p.read_until("1: up\n"));
  p.signal(SIGINT);
  CHECK_FALSE(p.read_until("anything"));
  const outcome o = p.finish();
  CHECK(o.status == 130);
  CHECK(o.err.find("both: command 1: ended with 143\n") != std::string::npos);
  CHECK(o.err.find("both: command 2: ended with 143\n") != std::string::npos);
}

TEST_CASE("both ends its commands when nobody reads what it prints") {
  program p({both, "yes", "exec sleep 1000"});
  REQUIRE(p.read_until("1: y\n"));
  p.close_output();
  const outcome o = p.finish();
  CHECK(o.status == 1);
  CHECK(o.err == "both: command 2: ended with 143\nboth: standard output: Broken pipe\n");
}

TEST_CASE("both lets a command that has closed its output end as it likes") {
  program p(
      {both, "trap 'exit 7' TERM; echo up; exec >&-; while :; do :; done", "exec sleep 1000"});
  REQUIRE(p.read_until("1: up\n"));
  p.signal(SIGINT);
  const outcome o = p.finish();
  CHECK(o.status == 130);
  CHECK(o.err.find("both: command 1: ended with 7\n") != std::string::npos);
}

TEST_CASE("both says how it is used") {
  const outcome o = run({both, "true"});
  CHECK(o.status == 2);
  CHECK(o.err == "usage: both COMMAND COMMAND\n");
}

TEST_CASE("daemon serves clients, reads its file again on SIGHUP, and drains on SIGTERM") {
  const temporary_folder folder("/tmp");
  const std::string at = folder / "socket", path = folder / "file";
  const auto write = [&](const char* text) {
    std::FILE* const file = std::fopen(path.c_str(), "w");
    REQUIRE(file != nullptr);
    std::fputs(text, file);
    std::fclose(file);
  };
  write("one");
  program p({daemon_program, at, path});
  REQUIRE(p.read_until("ready\n"));
  {
    const client first(at), second(at);
    CHECK(first.ask() == "one");
    CHECK(second.ask() == "one");
    write("two");
    p.signal(SIGHUP);
    REQUIRE(p.read_until("ready\nready\n"));
    CHECK(second.ask() == "two");
    p.signal(SIGTERM);
    REQUIRE(p.read_until("drains\n"));
    CHECK_FALSE(client(at).is_connected);
    CHECK(first.ask() == "two");  // it goes on to serve those that it has
    CHECK(second.ask() == "two");
  }
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.empty());
}

TEST_CASE("daemon without clients ends at once on Ctrl-C") {
  const temporary_folder folder("/tmp");
  program p({daemon_program, folder / "socket", "/dev/null"});
  REQUIRE(p.read_until("ready\n"));
  p.signal(SIGINT);
  CHECK_FALSE(p.read_until("anything"));
  CHECK(p.finish().status == 0);
}

TEST_CASE("daemon says what is wrong with its socket") {
  const temporary_folder folder("/tmp");
  const std::string lacking = folder / "lacking/socket", longer(200, 'x');
  const outcome o = run({daemon_program, lacking, "/dev/null"});
  CHECK(o.status == 1);
  CHECK(o.err == "daemon: " + lacking + ": No such file or directory\n");
  CHECK(run({daemon_program, longer, "/dev/null"}).err ==
        "daemon: " + longer + ": File name too long\n");
}

TEST_CASE("daemon takes no more than 100 clients at a time") {
  const temporary_folder folder("/tmp");
  const std::string at = folder / "socket", path = folder / "file";
  std::FILE* const file = std::fopen(path.c_str(), "w");
  REQUIRE(file != nullptr);
  std::fputs("text", file);
  std::fclose(file);
  program p({daemon_program, at, path});
  REQUIRE(p.read_until("ready\n"));
  std::vector<std::unique_ptr<client>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(std::make_unique<client>(at));
    REQUIRE_FALSE(all.back()->ask().empty());
  }
  const client late(at);  // waits in the kernel
  REQUIRE(late.is_connected);
  all.pop_back();
  CHECK_FALSE(late.ask().empty());
}

TEST_CASE("follow copies its input as it arrives, to the end") {
  program p({follow});
  p.write("one\n");
  CHECK(p.read_until("one\n"));  // while the input is open
  p.write("two\n");
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.out == "one\ntwo\n");
  CHECK(o.err == "follow: 8 bytes\n");
}

TEST_CASE("follow ends with status 1 when its input is silent for too long") {
  program p({follow, "0"});
  CHECK_FALSE(p.read_until("anything"));  // ends while the input is open
  const outcome o = p.finish();
  CHECK(o.status == 1);
  CHECK(o.err == "follow: timed out\nfollow: 0 bytes\n");
}

TEST_CASE("follow unwinds on Ctrl-C and ends with status 130") {
  program p({follow});
  p.write("text\n");
  REQUIRE(p.read_until("text\n"));
  p.signal(SIGINT);
  CHECK_FALSE(p.read_until("anything"));
  const outcome o = p.finish();
  CHECK(o.status == 130);
  CHECK(o.err == "follow: 5 bytes\n");
}

TEST_CASE("lines counts files on other threads, and reports those that it cannot read") {
  const outcome o = run({lines, "/no/such/file", "/dev/stdin"}, "one\ntwo\n");
  CHECK(o.status == 1);
  CHECK(o.out == "2 /dev/stdin\n");
  CHECK(o.err == "lines: /no/such/file: No such file or directory\n");
}

TEST_CASE("lines stops a thread that reads without end on Ctrl-C, and ends with status 130") {
  program p({lines, "/dev/zero", "/dev/null"});
  CHECK(p.read_until("0 /dev/null\n"));
  p.signal(SIGINT);
  CHECK_FALSE(p.read_until("anything"));
  const outcome o = p.finish();
  CHECK(o.status == 130);
  CHECK(o.err.empty());
}

TEST_CASE("nested drives its loop by the host's poll()") {
  SUBCASE("reminders are printed in the order of their deadlines") {
    const outcome o = run({nested}, "40 last\n1 second\n20 third\n0 first\n");
    CHECK(o.status == 0);
    CHECK(o.out == "first\nsecond\nthird\nlast\n");
  }
  SUBCASE("without input it ends at once") {
    const outcome o = run({nested});
    CHECK(o.status == 0);
    CHECK(o.out.empty());
  }
}

TEST_CASE("retry_test finds that its code waits for minutes, without waiting itself") {
  const outcome o = run({retry_test});
  CHECK(o.status == 0);
  CHECK(o.out == "at once: 1, later: 1, never: 1\n");
}

TEST_CASE("pass_memory passes 16 MiB, two watchers and the client's reply right through a front") {
  const outcome o = run({pass_memory});
  CHECK(o.status == 0);
  CHECK(o.out == "1000 of 16 MiB\nwatcher 0: kedge is done\nwatcher 1: kedge is done\n");
  CHECK(o.err.empty());
}

TEST_CASE("forward passes rights of every kind on, and the worker answers the client") {
  const outcome o = run({forward_program});
  CHECK(o.status == 0);
  CHECK(o.out ==
        "the worker has got a send right\nthe worker has got a send-once right\n"
        "the worker has got a receive right\nthe worker has got a dead right\n"
        "the client has got: done\n");
  CHECK(o.err.empty());
}

TEST_CASE("channels serves its clients in turn, until each has said bye") {
  const outcome o = run({channels});
  CHECK(o.status == 0);
  CHECK(count_of(o.out, "channel 0 says") == 4);
  CHECK(count_of(o.out, "channel 1 says") == 2);
  CHECK(o.out.find("channel 1 says bye\n") < o.out.find("channel 0 says bye\n"));
  CHECK(o.err.empty());
}

TEST_CASE("supervisor starts each worker again until it has died three times") {
  const outcome o = run({supervisor});
  CHECK(o.status == 0);
  CHECK(count_of(o.out, "worker 1 has died\n") == 3);
  CHECK(count_of(o.out, "worker 2 has died\n") == 3);
  CHECK(count_of(o.out, "\n") == 6);
}

TEST_CASE("impatient gets an answer, and its request back if it was not sent") {
  const outcome o = run({impatient});
  CHECK(o.status == 0);
  CHECK(count_of(o.out, "it answers: here you are\n") == 1);
  CHECK(count_of(o.out, "after the request was sent\n") == 1);
  CHECK(count_of(o.out, "and the request is back\n") == 2);
  CHECK(count_of(o.out, "it is dead: the peer has died") == 1);
}

TEST_CASE("ask_once asks a service in another thread, which is dead in the end") {
  const outcome o = run({ask_once});
  CHECK(o.status == 0);
  CHECK(o.out == "kedge: 5\nanchor: 6\nbye: 3\nagain: the peer has died\n");
}

TEST_CASE("shared_picture sees what the painter has drawn") {
  const outcome o = run({shared_picture});
  CHECK(o.status == 0);
  CHECK(o.out == "2097152 of 2097152 bytes are painted\n");
}

TEST_CASE("find_leak names the line that has got the rights, if the build keeps a ledger") {
  const outcome o = run({find_leak});
  CHECK(o.status == 0);
  const bool is_kept = o.out != "this build keeps no ledger\n";
  if (is_kept) {
    CHECK(o.out.find("3 objects own a right of find_leak.cc:") == 0);
    CHECK(count_of(o.out, "now there is none\n") == 1);
  }
}

TEST_CASE("call_server gets the replies of a server in C, and its error") {
  const outcome o = run({call_server});
  CHECK(o.status == 0);
  CHECK(o.out == "kedge: 5\nanchors: 7\n\"\": (os/kern) invalid argument\n++++----++++\n");
}

TEST_CASE("serve_client answers a client in C, which gets an error and stops it") {
  const outcome o = run({serve_client});
  CHECK(o.status == 0);
  CHECK(o.out == "kedge: 5\nanchors: 7\n\"\": error 4\n++++----++++\n");
}

TEST_CASE("service answers its client, which has found it by its name") {
  const outcome o = run({service});
  CHECK(o.status == 0);
  CHECK(o.out == "kedge: 5\nanchor: 6\n");
  CHECK(o.err.empty());
}

TEST_CASE("hand_over moves 64 MiB into a server") {
  const outcome o = run({hand_over});
  CHECK(o.status == 0);
  CHECK(o.out == "8192 x 8192: 67108864 of 67108864 bytes are painted\n");
}

TEST_CASE("publish removes a dead subscriber, and drops what a slow one has no room for") {
  const outcome o = run({publish});
  CHECK(o.status == 0);
  CHECK(count_of(o.out, "subscriber 2 is dead, 2 are left\n") == 1);
  CHECK(count_of(o.out, "3 misses: low tide\n") == 1);
  CHECK(count_of(o.out, "reader: high tide\n") == 1);
  CHECK(count_of(o.out, "reader: low tide\n") == 1);
}

TEST_CASE("restarts finds its service again after three restarts") {
  const outcome o = run({restarts});
  CHECK(o.status == 0);
  for (const char* life : {"life 1: ", "life 2: ", "life 3: ", "life 4: number 1\n"}) {
    CAPTURE(life);
    CHECK(count_of(o.out, life) >= 1);
  }
  CHECK(count_of(o.out, "lottery: ") == 0);
}

TEST_CASE("watch runs its command at the start and after changes of the file, until Ctrl-C") {
  const temporary_folder folder;
  const std::string path = folder / "file";
  const auto write = [](const std::string& to, const char* text) {
    std::FILE* const file = std::fopen(to.c_str(), "a");
    REQUIRE(file != nullptr);
    std::fputs(text, file);
    std::fclose(file);
  };
  write(path, "one\n");
  program p({watch, path, "cat", path});
  REQUIRE(p.read_until("one\n"));
  write(path, "two\n");
  REQUIRE(p.read_until("one\ntwo\n"));
  // As an editor saves.
  write(path + ".new", "three\n");
  REQUIRE(std::rename((path + ".new").c_str(), path.c_str()) == 0);
  REQUIRE(p.read_until("three\n"));
  REQUIRE(std::remove(path.c_str()) == 0);
  write(path, "four\n");
  REQUIRE(p.read_until("four\n"));
  p.signal(SIGINT);
  CHECK(p.finish().status == 130);
}

TEST_CASE("watch ends the command that runs on Ctrl-C") {
  program p({watch, "/dev/null", "sh", "-c", "echo up; exec sleep 1000"});
  REQUIRE(p.read_until("up\n"));
  p.signal(SIGINT);
  CHECK_FALSE(p.read_until("anything"));  // the output has been closed, by the command too
  CHECK(p.finish().status == 130);
}

TEST_CASE("watch says what is wrong with its file or its command") {
  const outcome file = run({watch, "/no/such/file", "true"});
  CHECK(file.status == 2);
  CHECK(file.err == "watch: kedge::watch_file: /no/such/file: No such file or directory\n");
  const outcome command = run({watch, "/dev/null", "/no/such/program"});
  CHECK(command.status == 2);
  CHECK(command.err.find("/no/such/program") != std::string::npos);
  CHECK(run({watch, "/dev/null"}).err == "usage: watch FILE COMMAND...\n");
}

TEST_CASE("worker_pool does every job of its input") {
  SUBCASE("one worker does them in their order") {
    const outcome o = run({worker_pool, "1"}, "20 tea\n0 toast\n1 egg\n");
    CHECK(o.status == 0);
    CHECK(o.out == "tea\ntoast\negg\n");
  }
  SUBCASE("a job that takes long does not hold up the other worker") {
    program p({worker_pool, "2"});
    p.write("1000000 never\n0 toast\n0 egg\n");
    CHECK(p.read_until("toast\negg\n"));  // while the first job lasts
    p.signal(SIGINT);
    const outcome o = p.finish();
    CHECK(o.status == 130);
    CHECK(o.out == "toast\negg\n");
  }
  SUBCASE("there are many more jobs than workers") {
    std::string jobs, expected;
    for (int i = 0; i < 1000; ++i) {
      jobs += "0 " + std::to_string(i) + '\n';
      expected += std::to_string(i) + '\n';
    }
    const outcome o = run({worker_pool, "1"}, jobs);
    CHECK(o.status == 0);
    CHECK(o.out == expected);
  }
}
