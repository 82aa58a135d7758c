// The two ends of files of several kinds, which no loop knows: a TCP connection, a FIFO, a
// terminal.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>

#include "tests/temporary_folder.h"

namespace kedge {

inline void set_nonblocking(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  REQUIRE(::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0);
}

// The caller owns both fds.
inline std::array<int, 2> tcp_pair() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(::bind(listening, name, size) == 0);
  REQUIRE(::listen(listening, 1) == 0);
  REQUIRE(::getsockname(listening, name, &size) == 0);
  std::array<int, 2> ends{::socket(AF_INET, SOCK_STREAM, 0), -1};
  REQUIRE(::connect(ends[0], name, size) == 0);
  ends[1] = ::accept(listening, nullptr, nullptr);
  REQUIRE(ends[1] >= 0);
  ::close(listening);
  return ends;
}

// A FIFO in a folder of its own.
class fifo {
 public:
  fifo() { REQUIRE(::mkfifo(path_.c_str(), 0600) == 0); }

  // Opens without waiting for the other end. The caller owns the fd.
  int open(int flags) const {
    const int fd = ::open(path_.c_str(), flags | O_NONBLOCK);
    REQUIRE(fd >= 0);
    return fd;
  }

 private:
  temporary_folder folder_;
  std::string path_ = folder_ / "fifo";
};

struct terminal_ends {
  int master;
  int user;  // blocking
};
// The caller owns both fds.
inline terminal_ends open_terminal() {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(master >= 0);
  REQUIRE(::grantpt(master) == 0);
  REQUIRE(::unlockpt(master) == 0);
  const int user = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(user >= 0);
  return {master, user};
}

}  // namespace kedge
