// The examples of datagrams and of streams in memory, as their users run them.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "program.h"

namespace {

const std::string protocol_test = "tools/examples/protocol_test";
const std::string time_server = "tools/examples/time_server";

// A UDP socket on 127.0.0.1.
class udp_client {
 public:
  udp_client() : fd_(::socket(AF_INET, SOCK_DGRAM, 0)) {
    const sockaddr_in any = at(0);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0);
  }
  udp_client(const udp_client&) = delete;
  udp_client& operator=(const udp_client&) = delete;
  ~udp_client() { ::close(fd_); }

  std::uint16_t port() const {
    sockaddr_in own{};
    socklen_t size = sizeof(own);
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &size) == 0);
    return ntohs(own.sin_port);
  }
  // Sends a question, and returns the answer.
  std::string ask(std::uint16_t to) const {
    const sockaddr_in server = at(to);
    REQUIRE(::sendto(fd_, "?", 1, 0, reinterpret_cast<const sockaddr*>(&server), sizeof(server)) ==
            1);
    char answer[64] = {};
    const ssize_t n = ::recv(fd_, answer, sizeof(answer), 0);
    return n > 0 ? std::string(answer, static_cast<std::size_t>(n)) : "";
  }

 private:
  static sockaddr_in at(std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
  }
  int fd_;
};

}  // namespace

TEST_CASE("time_server answers with the time, and ends on Ctrl-C") {
  const std::uint16_t port = udp_client().port();  // a free one
  program p({time_server, "127.0.0.1:" + std::to_string(port)});
  REQUIRE(p.read_until("time_server: at 127.0.0.1:" + std::to_string(port) + "\n"));
  const udp_client first, second;
  for (const udp_client* each : {&first, &second, &first}) {
    const std::string answer = each->ask(port);
    CAPTURE(answer);
    REQUIRE(answer.size() == 21);
    CHECK(answer[10] == 'T');
    CHECK(answer.ends_with("Z\n"));
  }
  p.signal(SIGINT);
  const outcome o = p.finish();
  CHECK(o.status == 130);
  CHECK(o.err.empty());
}

TEST_CASE("time_server says what is wrong with its address") {
  const outcome o = run({time_server, "127.0.0.1"});
  CHECK(o.status == 1);
  CHECK(o.err.starts_with("time_server: "));
}

TEST_CASE("protocol_test finds the same answers for each seed, without waiting") {
  const outcome o = run({protocol_test});
  CHECK(o.status == 0);
  CHECK(o.out == "answers: 1, hangs up: 1\n");
}
