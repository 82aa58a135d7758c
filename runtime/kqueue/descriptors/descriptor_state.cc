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
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>

#include "kedge/runtime/kqueue/descriptors/unix_socket_state.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// What a descriptor is, as far as Darwin's filters make a difference.
enum class kind { connection, datagrams, pipe, fifo, other };

int socket_option(int fd, int option) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

bool is_unix(int fd) noexcept {
  return socket_option(fd, SO_DOMAIN) == AF_UNIX;
}

kind kind_of(int fd) noexcept {
  const int type = socket_option(fd, SO_TYPE);
  if (type >= 0)
    return type == SOCK_STREAM || type == SOCK_SEQPACKET ? kind::connection : kind::datagrams;
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) return kind::other;
  struct statfs system{};
  return fstatfs(fd, &system) == 0 && system.f_type == PIPEFS_MAGIC ? kind::pipe : kind::fifo;
}

bool ask_tcp(int fd, tcp_info& info) noexcept {
  socklen_t size = sizeof info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
}

// What a socket's buffers hold, bookkeeping included, and may hold.
struct socket_memory {
  std::uint32_t word[SK_MEMINFO_VARS] = {};

  bool ask(int fd) noexcept {
    socklen_t size = sizeof word;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, word, &size) == 0;
  }
};

// -1: the descriptor cannot tell.
std::int64_t queued_bytes(int fd) noexcept {
  int amount = 0;
  return ioctl(fd, FIONREAD, &amount) == 0 ? amount : -1;
}

std::int64_t bytes_to_read(int fd) noexcept {
  if (const std::int64_t amount = queued_bytes(fd); amount >= 0) return amount;
  if (socket_option(fd, SO_ACCEPTCONN) <= 0) return 1;
  tcp_info info{};
  if (ask_tcp(fd, info)) return info.tcpi_unacked;
  unix_socket_state state;
  return state.ask(fd) && state.backlog != 0 ? state.backlog : 1;
}

struct write_room {
  std::int64_t free = 1;
  std::int64_t size = 1;  // what free is when nothing is queued
};

write_room room_to_write(int fd) noexcept {
  if (socket_memory memory; memory.ask(fd)) {
    const std::int64_t size = memory.word[SK_MEMINFO_SNDBUF];
    const std::int64_t used =
        std::max(memory.word[SK_MEMINFO_WMEM_ALLOC], memory.word[SK_MEMINFO_WMEM_QUEUED]);
    return {std::max<std::int64_t>(size - used, 0), size};
  }
  const int size = fcntl(fd, F_GETPIPE_SZ);
  const std::int64_t used = size >= 0 ? queued_bytes(fd) : -1;
  return used >= 0 ? write_room{size - used, size} : write_room{};
}

// The errno of a dead connection. SO_ERROR knows, but forgets when asked. One that once stood was
// reset: its SYN was acknowledged, or, if it was accepted, its peer has told its window. One that
// never did was refused if a segment has come in; if none has, it ran out of time or into the
// network's word, and that is left to the program, as 0.
std::uint32_t connection_error(int fd) noexcept {
  tcp_info info{};
  if (!ask_tcp(fd, info) || info.tcpi_bytes_acked != 0 || info.tcpi_snd_wnd != 0) return ECONNRESET;
  return info.tcpi_segs_in != 0 ? ECONNREFUSED : 0;
}

// tcpi_state after a FIN was sent (tcp_states.h of Linux's kernel): FIN_WAIT1, FIN_WAIT2,
// TIME_WAIT, LAST_ACK, CLOSING.
constexpr unsigned states_after_fin = 1u << 4 | 1u << 5 | 1u << 6 | 1u << 9 | 1u << 11;

// Has this side ended? `seen`: poll's events.
bool has_ended(const knote& note, kind what, unsigned seen) noexcept {
  switch (what) {
    case kind::connection:
      if ((seen & (POLLHUP | POLLRDHUP)) == POLLHUP) return false;  // it was never connected
      [[fallthrough]];
    case kind::datagrams:
      return (seen & (note.filter == EVFILT_WRITE ? POLLHUP : POLLHUP | POLLRDHUP)) != 0;
    case kind::pipe:
      return (seen & (POLLHUP | POLLERR)) != 0;
    case kind::fifo:
      return false;  // filt_vnode_common() knows no end of one
    default:
      return (seen & POLLHUP) != 0;
  }
}

// A pipe that has ended: nothing to write, and nothing to read for the end that writes.
std::int64_t amount_of_ended(const knote& note, kind what) noexcept {
  const int fd = static_cast<int>(note.ident);
  if (what == kind::pipe) {
    const bool reads = note.filter == EVFILT_READ && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY;
    if (!reads) return 0;
  }
  return amount_of(note.filter, fd);
}

bool asks_for_mark(const knote& note) noexcept {
  return (note.fflags & NOTE_LOWAT) != 0 && note.data > 1;
}

// Does this kind of descriptor know marks? Of datagrams Linux counts only the next one's bytes.
bool knows_mark(const knote& note, kind what) noexcept {
  return what == kind::connection || what == kind::pipe ||
         (what == kind::datagrams && note.filter == EVFILT_WRITE);
}

// The sender cannot send any more: what has come is all that there will be until it is read.
bool sender_is_stuck(int fd, kind what, std::int64_t bytes) noexcept {
  if (what == kind::pipe) {
    const int size = fcntl(fd, F_GETPIPE_SZ);
    return size >= 0 && bytes > size - PIPE_BUF;  // a page that is partly read takes no more
  }
  if (is_unix(fd)) {
    unix_socket_state state;
    return state.ask(fd) && state.peer_is_stuck;
  }
  socket_memory memory;
  return memory.ask(fd) && memory.word[SK_MEMINFO_RMEM_ALLOC] >= memory.word[SK_MEMINFO_RCVBUF] / 2;
}

bool meets_mark(const knote& note, kind what) noexcept {
  const int fd = static_cast<int>(note.ident);
  if (note.filter == EVFILT_WRITE) {
    const write_room room = room_to_write(fd);
    return room.free >= std::min(note.data, room.size);
  }
  const std::int64_t bytes = queued_bytes(fd);
  // A listening socket has no bytes and knows no mark.
  return bytes < 0 || bytes >= note.data || sender_is_stuck(fd, what, bytes);
}

}  // namespace

std::int64_t amount_of(std::int16_t filter, int fd) noexcept {
  const int error = errno;
  const std::int64_t amount = filter == EVFILT_WRITE ? room_to_write(fd).free : bytes_to_read(fd);
  errno = error;
  return amount;
}

bool has_mark(const knote& note) noexcept {
  return asks_for_mark(note) && knows_mark(note, kind_of(static_cast<int>(note.ident)));
}

std::uint32_t awaited_by(const knote& note) noexcept {
  if (note.filter == EVFILT_WRITE) return EPOLLOUT | EPOLLHUP | EPOLLERR;
  const bool urgent = (note.fflags & NOTE_OOB) != 0;
  return EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | (urgent ? EPOLLPRI : 0u);
}

bool sending_is_shut(int fd) noexcept {
  const no_cancellation here;
  const int error = errno;
  bool is_shut = false;
  if (tcp_info info{}; ask_tcp(fd, info)) {
    is_shut = (states_after_fin >> info.tcpi_state & 1) != 0;
  } else if (errno != ENOTSOCK && is_unix(fd) && socket_option(fd, SO_TYPE) == SOCK_STREAM) {
    // In a stream, no bytes are nothing; but the kernel looks whether it may send.
    is_shut = send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
  }
  errno = error;
  return is_shut;
}

sighting look_at(const knote& note, kevent64_s& event, bool with_data) noexcept {
  const no_cancellation here;
  const int fd = static_cast<int>(note.ident);
  const bool write = note.filter == EVFILT_WRITE;
  // Asked of a writer, too, POLLRDHUP tells a connection that ended from one that never was.
  pollfd p{fd, static_cast<short>(awaited_by(note) | POLLRDHUP), 0};
  if (poll(&p, 1, 0) < 0 || (p.revents & POLLNVAL) != 0) return {};
  const auto seen = static_cast<unsigned short>(p.revents);

  sighting s;
  const bool is_shut = write && sending_is_shut(fd);
  s.unusual = is_shut || (seen & (POLLHUP | POLLERR)) != 0;
  const bool matters = s.unusual || (seen & POLLRDHUP) != 0 || asks_for_mark(note);
  const kind what = matters ? kind_of(fd) : kind::other;
  const bool ended = is_shut || has_ended(note, what, seen);
  if ((seen & POLLPRI) != 0) {
    event.fflags = NOTE_OOB;
    s.reported = true;
    return s;  // Linux does not tell how much is behind the mark
  }
  if (ended) {
    event.flags |= EV_EOF;
    if ((seen & POLLERR) != 0 && what == kind::connection) event.fflags = connection_error(fd);
    if (with_data) event.data = amount_of_ended(note, what);
    s.reported = true;
    return s;
  }
  const bool failed = (seen & POLLERR) != 0 && what != kind::fifo;
  const bool unconnected = what == kind::connection && (seen & POLLHUP) != 0;
  const bool ready = (seen & (write ? POLLOUT : POLLIN)) != 0 && !unconnected;
  if (!failed && !ready) {
    s.look_again = write && unconnected && is_unix(fd);  // connecting it tells nobody
    return s;
  }
  if (!failed && asks_for_mark(note) && knows_mark(note, what) && !meets_mark(note, what)) {
    s.look_again = write;
    return s;
  }
  if (with_data) event.data = amount_of(note.filter, fd);
  s.reported = true;
  return s;
}

}  // namespace kedge::kqueue
