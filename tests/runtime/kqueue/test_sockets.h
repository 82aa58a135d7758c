// test_sockets: TCP sockets over the loopback interface, and listening AF_UNIX sockets.
#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "test_kqueue.h"

// An fd that the destructor closes, unless close() did.
class scoped_fd {
 public:
  explicit scoped_fd(int fd) : fd_(fd) { REQUIRE(fd_ >= 0); }
  scoped_fd(const scoped_fd&) = delete;
  scoped_fd& operator=(const scoped_fd&) = delete;
  ~scoped_fd() { close(); }

  operator int() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// A listening TCP socket, and connections to it.
class tcp_listener {
 public:
  tcp_listener() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    REQUIRE(fd_ >= 0);
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address_), size) == 0);
    REQUIRE(::listen(fd_, 8) == 0);
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &size) == 0);
  }
  tcp_listener(const tcp_listener&) = delete;
  tcp_listener& operator=(const tcp_listener&) = delete;
  ~tcp_listener() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  void close() {
    ::close(fd_);
    fd_ = -1;
  }
  // Connects `fd` to the listener. Returns 0 or an errno.
  int connect(int fd) const {
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0
               ? 0
               : errno;
  }

 private:
  int fd_;
  sockaddr_in address_{};
};

// A listening AF_UNIX socket in a directory of its own: the path of a temporary_folder may be too
// long for sun_path.
class unix_listener {
 public:
  unix_listener() : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    REQUIRE(::mkdtemp(directory_) != nullptr);
    address_.sun_family = AF_UNIX;
    std::snprintf(address_.sun_path, sizeof address_.sun_path, "%s/s", directory_);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0);
    REQUIRE(::listen(fd_, 8) == 0);
  }
  ~unix_listener() {
    ::unlink(address_.sun_path);
    ::rmdir(directory_);
  }

  int fd() const { return fd_; }
  void connect(int fd) const {
    REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0);
  }

 private:
  scoped_fd fd_;
  char directory_[32] = "/tmp/test_kqueue.XXXXXX";
  sockaddr_un address_{};
};

// A TCP connection: [0] called connect(), [1] came from accept().
inline fd_pair tcp_pair() {
  const tcp_listener listener;
  const int first = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(listener.connect(first) == 0);
  const int second = ::accept(listener.fd(), nullptr, nullptr);
  REQUIRE(second >= 0);
  return {first, second};
}

// Closes side `i` in a way that resets the other side.
inline void abort_side(fd_pair& p, int i) {
  const linger at_once{1, 0};
  REQUIRE(::setsockopt(p[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  p.close(i);
}

// Reads and clears SO_ERROR.
inline int socket_error(int fd) {
  int error = -1;
  socklen_t size = sizeof error;
  REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  return error;
}
