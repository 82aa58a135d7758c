// unix_stream: descriptors that travel along.
#include "kedge/net/unix_stream.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"
#include "kedge/runtime/private_pipe.h"

namespace kedge::net {
namespace {

constexpr std::size_t bytes_of_fds = unix_stream::most_fds * sizeof(int);
// What the program may have asked for by options of the socket: credentials, a time, a label.
constexpr std::size_t bytes_of_others = 512;

// A message of one part of bytes, and room for as many descriptors as there can be.
struct message {
  message(const std::byte* data, std::size_t size) noexcept
      : part{const_cast<std::byte*>(data), size} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = static_cast<decltype(header.msg_controllen)>(control.size());
  }

  iovec part;
  msghdr header{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(bytes_of_fds) + bytes_of_others> control{};
};

}  // namespace

std::optional<result<std::size_t>> read_with_fds::operator()(
    int fd, transfer_progress& progress) const noexcept {
  message m(room_.data(), room_.size());
  const ssize_t n =
      uninterrupted([&] { return ::recvmsg(fd, &m.header, MSG_DONTWAIT | host::receive_flags); });
  if (n < 0) return failed_transfer();
  bool has_control = (m.header.msg_flags & MSG_CTRUNC) != 0;
  if (has_control) into_->drop();  // the process had no descriptor free for it
  for (cmsghdr* c = CMSG_FIRSTHDR(&m.header); c != nullptr; c = CMSG_NXTHDR(&m.header, c)) {
    has_control = true;
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    // Where the system has cut the descriptors off it may have left their length as it was.
    const auto* const data = reinterpret_cast<const char*>(CMSG_DATA(c));
    const auto room = static_cast<std::size_t>(m.control.data() + m.control.size() - data);
    const std::size_t count = std::min<std::size_t>(c->cmsg_len - CMSG_LEN(0), room) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int received;
      std::memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      host::keep_from_children(received);
      owned_fd kept(above_standard(received));
      kept ? into_->add(std::move(kept)) : into_->drop();
    }
  }
  if (n == 0) return unexpected_end();
  const auto done = static_cast<std::size_t>(n);
  if (done < room_.size() && !has_control) progress.stopped_after(done);
  return result<std::size_t>(done);
}

std::optional<result<std::size_t>> write_with_fds::operator()(int fd) const noexcept {
  if (bytes_.empty() || fds_.size() > unix_stream::most_fds) {
    return unexpected(std::make_error_code(std::errc::invalid_argument));
  }
  message m(bytes_.data(), bytes_.size());
  if (fds_.empty()) {
    m.header.msg_control = nullptr;
    m.header.msg_controllen = 0;
  } else {
    const std::size_t size = fds_.size_bytes();
    m.header.msg_controllen = static_cast<decltype(m.header.msg_controllen)>(CMSG_SPACE(size));
    cmsghdr* const c = CMSG_FIRSTHDR(&m.header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = static_cast<decltype(c->cmsg_len)>(CMSG_LEN(size));
    std::memcpy(CMSG_DATA(c), fds_.data(), size);
  }
  const ssize_t n =
      uninterrupted([&] { return ::sendmsg(fd, &m.header, MSG_DONTWAIT | host::send_flags); });
  if (n < 0) return failed_transfer();
  return result<std::size_t>(static_cast<std::size_t>(n));
}

std::pair<unix_stream, unix_stream> unix_stream::pair(reactor& of_first, reactor& of_second) {
  auto [first, second] = make_socket_pair(SOCK_STREAM);
  unix_stream a(of_first, std::move(first));
  return {std::move(a), unix_stream(of_second, std::move(second))};
}

result<peer_credentials> unix_stream::credentials() const noexcept {
  if (!file_) return unexpected(kedge::errc::closed);
  return host::credentials_of(native_handle());
}

}  // namespace kedge::net
