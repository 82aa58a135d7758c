// READ, WRITE and EXCEPT as Darwin sees them (filt_soread_common(), filt_sowrite_common(), pipe and
// FIFO filters), asked of Linux by poll, ioctl and getsockopt.
#include "kedge/runtime/kqueue/descriptors/descriptor_state.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>

#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// The kinds of descriptors that Darwin's filters treat differently.
enum class fd_kind { connection, datagrams, pipe, fifo, other };

int socket_option(int fd, int option) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

bool is_unix(int fd) noexcept {
  return socket_option(fd, SO_DOMAIN) == AF_UNIX;
}

fd_kind kind_of(int fd) noexcept {
  const int type = socket_option(fd, SO_TYPE);
  if (type >= 0)
    return type == SOCK_STREAM || type == SOCK_SEQPACKET ? fd_kind::connection : fd_kind::datagrams;
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) return fd_kind::other;
  struct statfs system{};
  return fstatfs(fd, &system) == 0 && system.f_type == PIPEFS_MAGIC ? fd_kind::pipe : fd_kind::fifo;
}

bool get_tcp_info(int fd, tcp_info& info) noexcept {
  socklen_t size = sizeof info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
}

// How much a socket's buffers hold and may hold, the kernel's bookkeeping included.
struct socket_memory {
  std::uint32_t word[SK_MEMINFO_VARS] = {};

  bool query(int fd) noexcept {
    socklen_t size = sizeof word;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, word, &size) == 0;
  }
};

// Returns -1 if the descriptor has no such number.
std::int64_t queued_bytes(int fd) noexcept {
  int amount = 0;
  return ioctl(fd, FIONREAD, &amount) == 0 ? amount : -1;
}

// FIONREAD counts up to the mark of out-of-band data. A program that stops at EV_EOF with `data` 0
// would lose what is behind a mark that it has reached.
std::int64_t bytes_behind_mark(int fd) noexcept {
  int is_at_mark = 0;
  tcp_info info{};
  if (ioctl(fd, SIOCATMARK, &is_at_mark) != 0 || is_at_mark == 0 || !get_tcp_info(fd, info))
    return 0;
  // TCP's MSG_TRUNC copies nothing, so there is no buffer. A bare call, because recv() is a
  // cancellation point.
  const long amount = syscall(SYS_recvfrom, fd, nullptr, std::size_t{INT_MAX},
                              MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT, nullptr, nullptr);
  return std::max(amount, 0l);
}

// bytes_to_read() for a descriptor of which FIONREAD counts nothing (0) or is not supported (-1).
// Not inlined, because its buffers would make each READ event dearer.
[[gnu::noinline]] std::int64_t bytes_not_counted(int fd, std::int64_t counted) noexcept {
  if (counted == 0) return bytes_behind_mark(fd);
  if (socket_option(fd, SO_ACCEPTCONN) <= 0) return 1;
  tcp_info info{};
  if (get_tcp_info(fd, info)) return info.tcpi_unacked;
  unix_socket_state state;
  return state.query(fd) && state.backlog != 0 ? state.backlog : 1;
}

std::int64_t bytes_to_read(int fd) noexcept {
  const std::int64_t counted = queued_bytes(fd);
  return counted > 0 ? counted : bytes_not_counted(fd, counted);
}

struct write_room {
  std::int64_t free = 1;
  std::int64_t size = 1;  // `free` when no bytes are queued
};

write_room room_to_write(int fd) noexcept {
  if (socket_memory memory; memory.query(fd)) {
    const std::int64_t size = memory.word[SK_MEMINFO_SNDBUF];
    const std::int64_t used =
        std::max(memory.word[SK_MEMINFO_WMEM_ALLOC], memory.word[SK_MEMINFO_WMEM_QUEUED]);
    return {std::max<std::int64_t>(size - used, 0), size};
  }
  const int size = fcntl(fd, F_GETPIPE_SZ);
  const std::int64_t used = size >= 0 ? queued_bytes(fd) : -1;
  return used >= 0 ? write_room{size - used, size} : write_room{};
}

// Returns the errno of a dead connection, which SO_ERROR would give but then forget.
// - A connection that was established was reset. It was established if its SYN was acknowledged or,
//   for an accepted one, if its peer has announced its window.
// - One that never was established was refused if a segment has come in.
// - Without such a segment it timed out, or the network reported an error. That is left to the
//   program, as 0.
std::uint32_t connection_error(int fd) noexcept {
  tcp_info info{};
  if (!get_tcp_info(fd, info) || info.tcpi_bytes_acked != 0 || info.tcpi_snd_wnd != 0)
    return ECONNRESET;
  return info.tcpi_segs_in != 0 ? ECONNREFUSED : 0;
}

// tcpi_state after a FIN was sent (tcp_states.h of Linux's kernel): FIN_WAIT1, FIN_WAIT2,
// TIME_WAIT, LAST_ACK, CLOSING.
constexpr unsigned states_after_fin = 1u << 4 | 1u << 5 | 1u << 6 | 1u << 9 | 1u << 11;

// Returns whether the side of the descriptor that the knote is about has ended. `seen`: poll's
// events.
bool has_ended(const knote& note, fd_kind kind, unsigned seen) noexcept {
  switch (kind) {
    case fd_kind::connection:
      if ((seen & (POLLHUP | POLLRDHUP)) == POLLHUP) return false;  // it was never connected
      [[fallthrough]];
    case fd_kind::datagrams:
      return (seen & (note.filter == EVFILT_WRITE ? POLLHUP : POLLHUP | POLLRDHUP)) != 0;
    case fd_kind::pipe:
      return (seen & (POLLHUP | POLLERR)) != 0;
    case fd_kind::fifo:
      return false;  // filt_vnode_common() reports no end of a FIFO
    default:
      return (seen & POLLHUP) != 0;
  }
}

// amount_of() for an ended descriptor. A pipe that has ended has no room to write, and no bytes to
// read at the end that writes.
std::int64_t amount_of_ended(const knote& note, fd_kind kind) noexcept {
  const int fd = static_cast<int>(note.ident);
  if (kind == fd_kind::pipe) {
    const bool reads = note.filter == EVFILT_READ && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY;
    if (!reads) return 0;
  }
  return amount_of(note.filter, fd);
}

bool wants_mark(const knote& note) noexcept {
  return (note.fflags & NOTE_LOWAT) != 0 && note.data > 1;
}

// Returns whether the filter looks at marks for this kind of descriptor. Of datagrams Linux counts
// only the bytes of the next one.
bool supports_mark(const knote& note, fd_kind kind) noexcept {
  return kind == fd_kind::connection || kind == fd_kind::pipe ||
         (kind == fd_kind::datagrams && note.filter == EVFILT_WRITE);
}

// Returns whether the sender cannot send any more, so that no more bytes come until some are read.
bool sender_is_stuck(int fd, fd_kind kind, std::int64_t bytes) noexcept {
  if (kind == fd_kind::pipe) {
    const int size = fcntl(fd, F_GETPIPE_SZ);
    return size >= 0 && bytes > size - PIPE_BUF;  // a page that is partly read takes no more
  }
  if (is_unix(fd)) {
    unix_socket_state state;
    return state.query(fd) && state.peer_is_stuck;
  }
  socket_memory memory;
  return memory.query(fd) &&
         memory.word[SK_MEMINFO_RMEM_ALLOC] >= memory.word[SK_MEMINFO_RCVBUF] / 2;
}

bool meets_mark(const knote& note, fd_kind kind) noexcept {
  const int fd = static_cast<int>(note.ident);
  if (note.filter == EVFILT_WRITE) {
    const write_room room = room_to_write(fd);
    return room.free >= std::min(note.data, room.size);
  }
  const std::int64_t bytes = queued_bytes(fd);
  // A listening socket has no bytes, and Darwin ignores its mark.
  return bytes < 0 || bytes >= note.data || sender_is_stuck(fd, kind, bytes);
}

// Returns whether a knote whose descriptor has not ended has an event. Sets `poll_again` if epoll
// may not report when it has one.
bool is_ready(const knote& note, fd_kind kind, unsigned seen, bool& poll_again) noexcept {
  const int fd = static_cast<int>(note.ident);
  const bool write = note.filter == EVFILT_WRITE;
  if ((seen & POLLERR) != 0 && kind != fd_kind::fifo) return true;
  const bool is_unconnected = kind == fd_kind::connection && (seen & POLLHUP) != 0;
  if (is_unconnected || (seen & (write ? POLLOUT : POLLIN)) == 0) {
    // Connecting an AF_UNIX socket produces no event of epoll.
    poll_again = write && is_unconnected && is_unix(fd);
    return false;
  }
  if (!wants_mark(note) || !supports_mark(note, kind) || meets_mark(note, kind)) return true;
  poll_again = write;
  return false;
}

}  // namespace

std::int64_t amount_of(std::int16_t filter, int fd) noexcept {
  const int error = errno;
  const std::int64_t amount = filter == EVFILT_WRITE ? room_to_write(fd).free : bytes_to_read(fd);
  errno = error;
  return amount;
}

bool has_low_water_mark(const knote& note) noexcept {
  return wants_mark(note) && supports_mark(note, kind_of(static_cast<int>(note.ident)));
}

std::uint32_t epoll_interest_of(const knote& note) noexcept {
  if (note.filter == EVFILT_WRITE) return EPOLLOUT | EPOLLHUP | EPOLLERR;
  const bool urgent = (note.fflags & NOTE_OOB) != 0;
  return EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | (urgent ? EPOLLPRI : 0u);
}

bool is_shut_for_sending(int fd) noexcept {
  const no_cancellation guard;
  const int error = errno;
  bool is_shut = false;
  if (tcp_info info{}; get_tcp_info(fd, info)) {
    is_shut = (states_after_fin >> info.tcpi_state & 1) != 0;
  } else if (errno != ENOTSOCK && is_unix(fd) && socket_option(fd, SO_TYPE) == SOCK_STREAM) {
    // Sending no bytes to a stream sends nothing, but the kernel checks whether it may send.
    is_shut = send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
  }
  errno = error;
  return is_shut;
}

poll_result probe(const knote& note, kevent64_s& event, bool with_data, bool with_marks) noexcept {
  const no_cancellation guard;
  const int fd = static_cast<int>(note.ident);
  // POLLRDHUP, for WRITE too, distinguishes a connection that ended from one that never was.
  const std::uint32_t extra = with_marks ? POLLRDHUP | POLLPRI : POLLRDHUP;
  pollfd p{fd, static_cast<short>(epoll_interest_of(note) | extra), 0};
  if (poll(&p, 1, 0) < 0 || (p.revents & POLLNVAL) != 0) return {};
  const auto seen = static_cast<unsigned short>(p.revents);

  poll_result result;
  const bool is_shut = note.filter == EVFILT_WRITE && is_shut_for_sending(fd);
  result.unusual = is_shut || (seen & (POLLHUP | POLLERR)) != 0;
  const bool kind_matters = result.unusual || (seen & POLLRDHUP) != 0 || wants_mark(note);
  const fd_kind kind = kind_matters ? kind_of(fd) : fd_kind::other;
  const bool ended = is_shut || has_ended(note, kind, seen);
  if ((seen & POLLPRI) != 0 && (note.fflags & NOTE_OOB) != 0) {
    event.fflags = NOTE_OOB;  // `data` is 0: Linux does not say how much is behind the mark
    result.reported = true;
  } else if (ended) {
    event.flags |= EV_EOF;
    if ((seen & POLLERR) != 0 && kind == fd_kind::connection) event.fflags = connection_error(fd);
    if (with_data) event.data = amount_of_ended(note, kind);
    result.reported = true;
  } else if (is_ready(note, kind, seen, result.poll_again)) {
    if ((seen & POLLPRI) != 0) event.fflags = NOTE_OOB;
    if (with_data) event.data = amount_of(note.filter, fd);
    result.reported = true;
  }
  return result;
}

}  // namespace kedge::kqueue
