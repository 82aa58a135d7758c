#include <doctest/doctest.h>
#include <signal.h>

#include "program.h"

namespace {

const std::string both = "tools/examples/both";
const std::string follow = "tools/examples/follow";
const std::string lines = "tools/examples/lines";
const std::string nested = "tools/examples/nested";
const std::string retry = "tools/examples/retry";
const std::string service = "tools/examples/service";

}  // namespace

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

TEST_CASE("both says how it is used") {
  const outcome o = run({both, "true"});
  CHECK(o.status == 2);
  CHECK(o.err == "usage: both COMMAND COMMAND\n");
}

TEST_CASE("retry tests a client in virtual time, each time with the same result") {
  const outcome o = run({retry});
  CHECK(o.status == 0);
  CHECK(o.out ==
        "0 ignored: 1 tries in 4999 ms: as expected\n"
        "1 ignored: 2 tries in 19999 ms: as expected\n"
        "2 ignored: 3 tries in 44999 ms: as expected\n"
        "3 ignored: 0 tries in 75000 ms: as expected\n");
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

TEST_CASE("service answers its client, which is notified of the service's death") {
  const outcome o = run({service});
  CHECK(o.status == 0);
  CHECK(o.out == "kedge: 5\nanchor: 6\nbye: 3\nthe service has died\n");
  CHECK(o.err.empty());
}
