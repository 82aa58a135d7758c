// unix_stream: a connection of Unix sockets, which can carry descriptors.
//
// connect.h makes connections, unix_listener.h takes them, and pair() makes two ends of one.
//
// Threads: the loop's thread only. See stream_socket.h and stream.h.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "kedge/net/peer_credentials.h"
#include "kedge/net/received_fds.h"
#include "kedge/net/stream.h"
#include "kedge/net/stream_socket.h"

namespace kedge::net {

// The transfers of read_some() and write_some() with descriptors.
class read_with_fds {
 public:
  static constexpr const char* aim = "read";
  static constexpr const char* name = "read_some fd";
  static constexpr probing probe = probing::not_for_sockets;
  read_with_fds(std::span<std::byte> room, received_fds& into) noexcept
      : room_(room), into_(&into) {}
  bool is_empty() const noexcept { return room_.empty(); }
  std::optional<result<std::size_t>> operator()(int fd, transfer_progress& progress) const noexcept;

 private:
  std::span<std::byte> room_;
  received_fds* into_;
};

class write_with_fds {
 public:
  static constexpr const char* aim = "written";
  static constexpr const char* name = "write_some fd";
  static constexpr probing probe = probing::not_for_sockets;
  write_with_fds(std::span<const std::byte> bytes, std::span<const int> fds) noexcept
      : bytes_(bytes), fds_(fds) {}
  bool is_empty() const noexcept { return bytes_.empty() && fds_.empty(); }
  std::optional<result<std::size_t>> operator()(int fd) const noexcept;

 private:
  std::span<const std::byte> bytes_;
  std::span<const int> fds_;
};

class unix_stream : public stream_socket {
 public:
  // As many descriptors as a write can carry (Linux's SCM_MAX_FD).
  static constexpr std::size_t most_fds = 253;

  // Makes a closed stream.
  unix_stream() = default;
  // Takes over a connected, non-blocking Unix stream socket. Throws std::bad_alloc, having closed
  // it.
  unix_stream(reactor& r, owned_fd socket)
      : stream_socket(r, std::move(socket), file_kind::unix_stream) {}
  // Two connected streams. Throws std::system_error.
  static std::pair<unix_stream, unix_stream> pair(reactor& r) { return pair(r, r); }
  static std::pair<unix_stream, unix_stream> pair(reactor& of_first, reactor& of_second);

  using stream_socket::read_some;
  using stream_socket::write_some;
  // Reads, and adds the descriptors that came along to `into`. They come with the read that takes
  // the first byte that they were sent with; a read takes those of one write at most. Other reads
  // close them. `into` must live until the wait ends.
  auto read_some(std::span<std::byte> room, received_fds& into) {
    return file_.reading(read_with_fds(room, into));
  }
  // Writes, and passes copies of the descriptors along with the first byte; the caller keeps its
  // own. All are passed if a byte was written, and none otherwise. Gives EINVAL for more than
  // most_fds, or if there is no byte that could carry them.
  auto write_some(std::span<const std::byte> bytes, std::span<const int> fds) {
    return file_.writing(write_with_fds(bytes, fds));
  }

  result<peer_credentials> credentials() const noexcept;
};

static_assert(stream<unix_stream>);

}  // namespace kedge::net
