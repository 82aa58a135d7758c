// stream_pair: two connected local sockets, as owned descriptors of a loop.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"

namespace kedge {

// The caller owns both fds. Throws std::system_error.
inline std::array<int, 2> socket_pair(int type = SOCK_STREAM, bool nonblocking = true) {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, type, 0, fds.data()) != 0) {
    throw std::system_error(errno, std::system_category());
  }
  for (const int fd : fds) {
    if (nonblocking) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
  return fds;
}

struct stream_pair {
  explicit stream_pair(loop& l, int type = SOCK_STREAM, bool nonblocking = true)
      : stream_pair(l, socket_pair(type, nonblocking)) {}
  descriptor a;
  descriptor b;

 private:
  stream_pair(loop& l, const std::array<int, 2>& fds)
      : a(l, fds[0], ownership::owned), b(l, fds[1], ownership::owned) {}
};

}  // namespace kedge
