// tcp_pair: the two ends of a TCP connection within this process, with out-of-band data.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

namespace kedge {

class tcp_pair {
 public:
  tcp_pair() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    socklen_t size = sizeof name;
    REQUIRE(::bind(listener, address, size) == 0);
    REQUIRE(::listen(listener, 1) == 0);
    REQUIRE(::getsockname(listener, address, &size) == 0);
    ends_[1] = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(::connect(ends_[1], address, size) == 0);
    ends_[0] = ::accept(listener, nullptr, nullptr);
    REQUIRE(ends_[0] >= 0);
    ::close(listener);
  }
  tcp_pair(const tcp_pair&) = delete;
  tcp_pair& operator=(const tcp_pair&) = delete;
  ~tcp_pair() {
    for (const std::size_t i : {0U, 1U}) close(i);
  }
  int operator[](std::size_t i) const noexcept { return ends_[i]; }
  void close(std::size_t i) noexcept {
    if (ends_[i] >= 0) ::close(std::exchange(ends_[i], -1));
  }

  // From the end 1 to the end 0.
  void send(std::string_view text) const { send(text, 0); }
  void send_urgent(std::string_view text) const { send(text, MSG_OOB); }
  // Waits for ordinary or out-of-band bytes.
  void await_readable() const {
    pollfd p{ends_[0], POLLIN | POLLPRI, 0};
    REQUIRE(::poll(&p, 1, -1) == 1);
  }
  char receive_urgent() const {
    char byte = 0;
    REQUIRE(::recv(ends_[0], &byte, 1, MSG_OOB) == 1);
    return byte;
  }

 private:
  void send(std::string_view text, int flags) const {
    REQUIRE(::send(ends_[1], text.data(), text.size(), flags) == static_cast<ssize_t>(text.size()));
  }

  std::array<int, 2> ends_{};
};

}  // namespace kedge
