// Calls of the system on sockets, and their errors as results. For the .cc files of this room.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "kedge/net/address.h"
#include "kedge/net/host.h"
#include "kedge/net/owned_fd.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

// Repeats `call` while a signal interrupts it.
auto uninterrupted(auto call) noexcept {
  decltype(call()) n;
  do {
    n = call();
  } while (n < 0 && errno == EINTR);
  return n;
}

inline std::error_code last_error() noexcept {
  return {errno, std::system_category()};
}

inline unexpected<std::error_code> failed_call(const char* name, int fd) noexcept {
  return unexpected(last_error(), failed_operation{name, fd});
}

// Whether a call has failed with errno because it would have blocked.
inline bool would_block() noexcept {
  return errno == EAGAIN || errno == EWOULDBLOCK;
}

// What a transfer of a T gives after a call that has failed with errno: nothing if it would have
// blocked.
template <class T = std::size_t>
std::optional<result<T>> failed_transfer() noexcept {
  if (would_block()) return std::nullopt;
  return unexpected(last_error());
}

inline std::optional<result<std::size_t>> unexpected_end() noexcept {
  return unexpected(kedge::errc::end_of_file);
}

// The functions below give errc::closed for the fd -1 of a socket that is closed.

// `call` is getsockname or getpeername.
inline result<address> address_by(int (*call)(int, sockaddr*, socklen_t*), int fd,
                                  const char* name) {
  if (fd < 0) return unexpected(kedge::errc::closed);
  sockaddr_storage found{};
  socklen_t size = sizeof(found);
  if (call(fd, reinterpret_cast<sockaddr*>(&found), &size) != 0) return failed_call(name, fd);
  return address(reinterpret_cast<const sockaddr*>(&found), size);
}
inline result<address> local_address_of(int fd) {
  return address_by(::getsockname, fd, "getsockname fd");
}
inline result<address> peer_address_of(int fd) {
  return address_by(::getpeername, fd, "getpeername fd");
}

inline result<void> set_socket_option(int fd, int level, int option, int value) noexcept {
  if (fd < 0) return unexpected(kedge::errc::closed);
  if (::setsockopt(fd, level, option, &value, sizeof(value)) == 0) return {};
  return failed_call("setsockopt fd", fd);
}
// `option` is SO_RCVBUF or SO_SNDBUF.
inline result<void> set_buffer_size(int fd, int option, std::size_t bytes) noexcept {
  const auto most = static_cast<std::size_t>(std::numeric_limits<int>::max());
  return set_socket_option(fd, SOL_SOCKET, option, static_cast<int>(std::min(bytes, most)));
}

// Two connected Unix sockets of host.h's functions. Throws std::system_error.
inline std::pair<owned_fd, owned_fd> make_socket_pair(int type) {
  int fds[2];
  if (host::make_socket_pair(type, fds) != 0) {
    throw std::system_error(last_error(), "make a pair of Unix sockets");
  }
  return {owned_fd(fds[0]), owned_fd(fds[1])};
}

}  // namespace kedge::net
