#pragma once

// Sockets over the loopback interface.

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

// A descriptor that is closed at the end, unless before.
class descriptor_of_test {
 public:
  explicit descriptor_of_test(int fd) : fd_(fd) { REQUIRE(fd_ >= 0); }
  descriptor_of_test(const descriptor_of_test&) = delete;
  descriptor_of_test& operator=(const descriptor_of_test&) = delete;
  ~descriptor_of_test() { close(); }

  operator int() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// A listening TCP socket, and connections to it.
class listener_of_test {
 public:
  listener_of_test() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    REQUIRE(fd_ >= 0);
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address_), size) == 0);
    REQUIRE(::listen(fd_, 8) == 0);
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &size) == 0);
  }
  listener_of_test(const listener_of_test&) = delete;
  listener_of_test& operator=(const listener_of_test&) = delete;
  ~listener_of_test() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  void close() {
    ::close(fd_);
    fd_ = -1;
  }
  // 0 or an errno.
  int connect(int fd) const {
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0
               ? 0
               : errno;
  }

 private:
  int fd_;
  sockaddr_in address_{};
};

// A TCP connection: [0] has connected, [1] has accepted.
class tcp_pair_of_test {
 public:
  tcp_pair_of_test() : fd_{::socket(AF_INET, SOCK_STREAM, 0), -1} {
    const listener_of_test listener;
    REQUIRE(listener.connect(fd_[0]) == 0);
    fd_[1] = ::accept(listener.fd(), nullptr, nullptr);
    REQUIRE(fd_[1] >= 0);
  }
  tcp_pair_of_test(const tcp_pair_of_test&) = delete;
  tcp_pair_of_test& operator=(const tcp_pair_of_test&) = delete;
  ~tcp_pair_of_test() {
    close(0);
    close(1);
  }

  int operator[](int i) const { return fd_[i]; }
  void close(int i) {
    if (fd_[i] >= 0) ::close(fd_[i]);
    fd_[i] = -1;
  }
  // So that the other side is reset.
  void abort(int i) {
    const linger at_once{1, 0};
    REQUIRE(::setsockopt(fd_[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(i);
  }

 private:
  int fd_[2];
};

inline int socket_error(int fd) {
  int error = -1;
  socklen_t size = sizeof error;
  REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  return error;
}
