// The examples of kedge/net, as their users run them.
#include <doctest/doctest.h>
#include <signal.h>

#include <cstdint>
#include <string>

#include "program.h"
#include "tcp_client.h"
#include "tests/temporary_folder.h"

namespace {

const std::string echo_server = "tools/examples/echo_server";
const std::string fd_proxy = "tools/examples/fd_proxy";
const std::string line_chat = "tools/examples/line_chat";

}  // namespace

TEST_CASE("echo_server gives back what it gets, and drains on SIGTERM") {
  program p({echo_server, "127.0.0.1:0"});
  const std::uint16_t port = port_of(p);
  const tcp_client first(port);
  const tcp_client second(port);
  first.send("one");
  second.send("two");
  CHECK(first.read(3) == "one");
  CHECK(second.read(3) == "two");
  p.signal(SIGTERM);
  first.send("more");
  CHECK(first.read(4) == "more");  // it goes on with those that it has
  first.end();
  second.end();
  CHECK(second.read(1).empty());
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.out.ends_with("served 2, cut off 0\n"));
  CHECK(o.err.empty());
}

TEST_CASE("echo_server says what is wrong with its address") {
  CHECK(run({echo_server, "127.0.0.1"}).err.find("the port is missing") != std::string::npos);
  CHECK(run({echo_server, "192.0.2.1:7"}).err ==
        "echo_server: listen on 192.0.2.1:7: Cannot assign requested address\n");
  CHECK(run({echo_server}).status == 2);
}

TEST_CASE("line_chat passes lines on to the others") {
  program p({line_chat, "127.0.0.1:0"});
  const std::uint16_t port = port_of(p);
  const tcp_client ada(port);
  const tcp_client grace(port);
  CHECK(ada.read(8) == "welcome\n");
  CHECK(grace.read(8) == "welcome\n");
  ada.send("I am ");
  ada.send("Ada\r\n");
  CHECK(grace.read(9) == "I am Ada\n");
  grace.send("hello Ada\n");
  CHECK(ada.read(10) == "hello Ada\n");
  ada.send(std::string(1001, 'x') + "\n");  // too long: it is hung up on
  CHECK(ada.read(100).empty());
  p.signal(SIGTERM);
  CHECK(p.finish().status == 128 + SIGTERM);
}

TEST_CASE("fd_proxy serves in one process what another has accepted") {
  const temporary_folder folder("/tmp");
  const std::string path = folder / "back";
  program back({fd_proxy, "back", path});
  REQUIRE(back.read_until("ready\n"));
  program front({fd_proxy, "front", "127.0.0.1:0", path});
  const std::uint16_t port = port_of(front);
  for (int i = 0; i < 3; ++i) CHECK(tcp_client(port).read(100) == "greetings from the back\n");
  back.signal(SIGINT);
  CHECK(back.finish().status == 128 + SIGINT);
  CHECK(run({fd_proxy}).status == 2);
  CHECK(run({fd_proxy, "front", "127.0.0.1:0", folder / "nobody"}).err.find("No such file") !=
        std::string::npos);
}
