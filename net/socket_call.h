// Calls of the system on sockets, and their errors as results. For the .cc files of this room.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <system_error>

#include "kedge/net/address.h"
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

// What a transfer gives after a call that has failed with errno: nothing if it would have blocked.
inline std::optional<result<std::size_t>> failed_transfer() noexcept {
  if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
  return unexpected(last_error());
}

inline std::optional<result<std::size_t>> unexpected_end() noexcept {
  return unexpected(kedge::errc::end_of_file);
}

// `call` is getsockname or getpeername.
inline result<address> address_by(int (*call)(int, sockaddr*, socklen_t*), int fd,
                                  const char* name) {
  sockaddr_storage found{};
  socklen_t size = sizeof(found);
  if (call(fd, reinterpret_cast<sockaddr*>(&found), &size) != 0) return failed_call(name, fd);
  return address(reinterpret_cast<const sockaddr*>(&found), size);
}

inline result<void> set_socket_option(int fd, int level, int option, int value) noexcept {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) == 0) return {};
  return failed_call("setsockopt fd", fd);
}

}  // namespace kedge::net
