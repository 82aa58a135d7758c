#include "kedge/kqueue/descriptor_state.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace kedge::kqueue {
namespace {

int socket_option(int fd, int option) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

bool tcp_state(int fd, tcp_info& info) noexcept {
  socklen_t size = sizeof info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
}

std::int64_t bytes_to_read(int fd) noexcept {
  int amount = 0;
  if (ioctl(fd, FIONREAD, &amount) == 0) return amount;
  tcp_info info{};
  if (socket_option(fd, SO_ACCEPTCONN) > 0 && tcp_state(fd, info)) return info.tcpi_unacked;
  return 1;
}

std::int64_t room_to_write(int fd) noexcept {
  int queued = 0;
  if (const int size = fcntl(fd, F_GETPIPE_SZ); size >= 0) {
    return ioctl(fd, FIONREAD, &queued) == 0 ? size - queued : 1;
  }
  const int size = socket_option(fd, SO_SNDBUF);
  if (size < 0 || ioctl(fd, SIOCOUTQ, &queued) != 0) return 1;
  return std::max(size - queued, 0);
}

// The errno of a dead stream socket. SO_ERROR knows, but forgets when asked. A connection that once
// stood has had its SYN acknowledged and was reset; one that never did is left to the program, as
// fflags 0.
std::uint32_t stream_error(int fd) noexcept {
  tcp_info info{};
  const bool never_stood = tcp_state(fd, info) && info.tcpi_bytes_acked == 0;
  return never_stood ? 0 : ECONNRESET;
}

}  // namespace

std::int64_t amount_of(std::int16_t filter, int fd) noexcept {
  const int error = errno;
  const std::int64_t amount = filter == EVFILT_READ ? bytes_to_read(fd) : room_to_write(fd);
  errno = error;
  return amount;
}

void describe_end(std::uint32_t epoll_events, kevent64_s& event) noexcept {
  const std::uint32_t end = event.filter == EVFILT_READ ? EPOLLRDHUP | EPOLLHUP : EPOLLHUP;
  const bool ended = (epoll_events & end) != 0;
  if (ended) event.flags |= EV_EOF;
  if ((epoll_events & EPOLLERR) == 0) return;

  const int fd = static_cast<int>(event.ident);
  const int type = socket_option(fd, SO_TYPE);
  if (type < 0) {
    event.flags |= EV_EOF;  // a pipe that nobody reads any more
  } else if (ended && (type == SOCK_STREAM || type == SOCK_SEQPACKET)) {
    event.fflags = stream_error(fd);
  }
}

}  // namespace kedge::kqueue
