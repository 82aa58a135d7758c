// stream_socket: transfers, addresses and options.
#include "kedge/net/stream_socket.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

struct parts {
  // Takes the first parts.
  explicit parts(const auto& spans) noexcept {
    for (const auto& each : spans) {
      if (count == at.size()) break;
      at[count++] = {const_cast<std::byte*>(each.data()), each.size()};
      bytes += each.size();
    }
  }
  msghdr header() noexcept {
    msghdr h{};
    h.msg_iov = at.data();
    h.msg_iovlen = static_cast<decltype(h.msg_iovlen)>(count);
    return h;
  }

  std::array<iovec, stream_socket::most_parts> at;
  std::size_t count = 0;
  std::size_t bytes = 0;
};

// Returns whether none of the spans that move at once has a byte.
bool are_empty(const auto& spans) noexcept {
  const auto moved = spans.first(std::min(spans.size(), stream_socket::most_parts));
  return std::all_of(moved.begin(), moved.end(), [](const auto& each) { return each.empty(); });
}

}  // namespace

bool scattered_read::is_empty() const noexcept {
  return are_empty(rooms_);
}

bool gathered_write::is_empty() const noexcept {
  return are_empty(parts_);
}

std::optional<result<std::size_t>> scattered_read::operator()(
    int fd, transfer_progress& progress) const noexcept {
  parts into(rooms_);
  msghdr header = into.header();
  const ssize_t n = uninterrupted([&] { return ::recvmsg(fd, &header, MSG_DONTWAIT); });
  if (n < 0) return failed_transfer();
  if (n == 0) return unexpected_end();
  const auto done = static_cast<std::size_t>(n);
  // MSG_CTRUNC: descriptors or credentials have come along, and end the read before the last byte.
  if (done < into.bytes && (header.msg_flags & MSG_CTRUNC) == 0) progress.stopped_after(done);
  return result<std::size_t>(done);
}

std::optional<result<std::size_t>> gathered_write::operator()(
    int fd, transfer_progress& progress) const noexcept {
  parts from(parts_);
  const msghdr header = from.header();
  const ssize_t n =
      uninterrupted([&] { return ::sendmsg(fd, &header, MSG_DONTWAIT | host::send_flags); });
  if (n < 0) return failed_transfer();
  const auto done = static_cast<std::size_t>(n);
  if (done < from.bytes) progress.stopped_after(done);
  return result<std::size_t>(done);
}

std::optional<result<std::size_t>> file_transfer::operator()(int fd) const noexcept {
  constexpr std::size_t most = 1 << 30;  // the systems refuse what their types cannot hold
  const std::size_t size = std::min(size_, most);
  const ssize_t n = uninterrupted([&] { return host::send_file(fd, file_, offset_, size); });
  if (n < 0) return failed_transfer();
  return result<std::size_t>(static_cast<std::size_t>(n));
}

// The socket says by SO_ERROR, once, how it has ended. Darwin answers a second connect(2) with
// EINVAL.
std::optional<result<void>> connection_attempt::operator()(int fd) noexcept {
  if (!std::exchange(has_begun_, true)) {
    if (::connect(fd, to_->data(), to_->size()) == 0) return result<void>();
    if (errno == EINPROGRESS || errno == EINTR) return std::nullopt;
    return unexpected(last_error());
  }
  int why = 0;
  socklen_t size = sizeof(why);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) != 0) why = errno;
  if (why != 0) return unexpected(std::error_code(why, std::system_category()));
  sockaddr_storage peer;
  size = sizeof(peer);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return result<void>();
  return std::nullopt;  // a false alarm
}

stream_socket::stream_socket(reactor& r, owned_fd socket, file_kind kind)
    : file_(r, socket.release(), kind) {
  file_.add_send_flags(host::send_flags);
}

result<void> stream_socket::shutdown_write() noexcept {
  if (!file_) return unexpected(kedge::errc::closed);
  if (::shutdown(native_handle(), SHUT_WR) == 0) return {};
  return failed_call("shutdown fd", native_handle());
}

void stream_socket::reset() noexcept {
  constexpr linger at_once{1, 0};
  if (file_) ::setsockopt(native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close();
}

result<address> stream_socket::local_address() const {
  return local_address_of(native_handle());
}

result<address> stream_socket::peer_address() const {
  return peer_address_of(native_handle());
}

result<void> stream_socket::set_option(int level, int option, int value) noexcept {
  return set_socket_option(native_handle(), level, option, value);
}

result<void> stream_socket::set_receive_buffer(std::size_t bytes) noexcept {
  return set_buffer_size(native_handle(), SO_RCVBUF, bytes);
}

result<void> stream_socket::set_send_buffer(std::size_t bytes) noexcept {
  return set_buffer_size(native_handle(), SO_SNDBUF, bytes);
}

}  // namespace kedge::net
