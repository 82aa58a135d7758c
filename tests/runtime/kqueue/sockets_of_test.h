// Sockets over the loopback interface, and listening ones of AF_UNIX.
#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "kqueue_of_test.h"

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

// A listening socket of AF_UNIX in a directory of its own. (A folder_of_test may lie too deep for
// sun_path.)
class unix_listener_of_test {
 public:
  unix_listener_of_test() : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    REQUIRE(::mkdtemp(directory_) != nullptr);
    address_.sun_family = AF_UNIX;
    std::snprintf(address_.sun_path, sizeof address_.sun_path, "%s/s", directory_);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0);
    REQUIRE(::listen(fd_, 8) == 0);
  }
  ~unix_listener_of_test() {
    ::unlink(address_.sun_path);
    ::rmdir(directory_);
  }

  int fd() const { return fd_; }
  void connect(int fd) const {
    REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0);
  }

 private:
  descriptor_of_test fd_;
  char directory_[32] = "/tmp/kqueue_of_test.XXXXXX";
  sockaddr_un address_{};
};

// A TCP connection: [0] has connected, [1] has accepted.
inline pair_of_test pair_of_tcp() {
  const listener_of_test listener;
  const int first = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(listener.connect(first) == 0);
  const int second = ::accept(listener.fd(), nullptr, nullptr);
  REQUIRE(second >= 0);
  return {first, second};
}

// So that the other side is reset.
inline void abort_side(pair_of_test& p, int i) {
  const linger at_once{1, 0};
  REQUIRE(::setsockopt(p[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  p.close(i);
}

inline int socket_error(int fd) {
  int error = -1;
  socklen_t size = sizeof error;
  REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  return error;
}
