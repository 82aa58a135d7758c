// tcp_client: a TCP connection that blocks, to a server on this machine. port_of(): where that
// listens.
#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "program.h"

class tcp_client {
 public:
  enum adoption { connected };
  // Takes over a connection.
  tcp_client(adoption, int fd) : fd_(fd) { REQUIRE(fd >= 0); }
  explicit tcp_client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int failed = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    // A server that resets the connection at once may do so before connect(2) returns.
    REQUIRE((failed == 0 || errno == ECONNRESET));
  }
  tcp_client(const tcp_client&) = delete;
  tcp_client& operator=(const tcp_client&) = delete;
  ~tcp_client() { ::close(fd_); }

  void send(const std::string& text) const {
    REQUIRE(::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  }
  // Gives how many bytes the system has taken; 0 if the peer has ended the connection.
  std::size_t send_some(const std::string& text) const {
    const ssize_t n = ::send(fd_, text.data(), text.size(), 0);
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  // Resets the connection when it is closed.
  void reset_at_close() const {
    constexpr linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  }
  void end() const { ::shutdown(fd_, SHUT_WR); }
  // Reads `size` bytes, or to the end.
  std::string read(std::size_t size) const {
    std::string all(size, '\0');
    const ssize_t n = ::recv(fd_, all.data(), size, MSG_WAITALL);
    all.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return all;
  }

 private:
  int fd_;
};

// Reads the line "listens on 127.0.0.1:PORT" of a server.
inline std::uint16_t port_of(program& p) {
  REQUIRE(p.read_until("\n"));
  return static_cast<std::uint16_t>(
      std::atoi(p.output().substr(p.output().rfind(':') + 1).c_str()));
}
