// datagram_socket: transfers of whole datagrams, and which errors they pass over.
#include "kedge/net/datagram_socket.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

// What the network has reported about an earlier datagram.
bool is_of_earlier_datagram(int error) noexcept {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENOPROTOOPT:
      return true;
    default:
      return false;
  }
}

// Returns whether the error is one that the network has reported about one peer of many. Asks the
// system: the socket may have been connected while a receive() waited. Keeps errno.
bool is_of_another_peer(int fd, int error) noexcept {
  if (!is_of_earlier_datagram(error)) return false;
  const auto local = local_address_of(fd);
  const bool is_connected = peer_address_of(fd).has_value();
  errno = error;
  return local && local->is_internet() && !is_connected;
}

// Receives one datagram. Returns false, with errno, if there is none.
bool take(int fd, std::span<std::byte> room, received_datagram& into) noexcept {
  sockaddr_storage from{};
  iovec part{room.data(), room.size()};
  msghdr header{};
  ssize_t n;
  do {
    header.msg_name = &from;
    header.msg_namelen = sizeof(from);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    n = uninterrupted([&] { return ::recvmsg(fd, &header, MSG_DONTWAIT); });
  } while (n < 0 && is_of_another_peer(fd, errno));
  if (n < 0) return false;
  into.size = static_cast<std::size_t>(n);
  into.is_truncated = (header.msg_flags & MSG_TRUNC) != 0;
  into.from = address(reinterpret_cast<const sockaddr*>(&from), header.msg_namelen);
  return true;
}

// Returns whether `got` is the end of a connection of packets. recvmsg(2) gives an empty packet
// like the end. But at the end the socket stays readable, and no bytes are queued.
bool is_end(int fd, datagram_kind kind, const received_datagram& got) noexcept {
  if (kind != datagram_kind::packets || got.size != 0 || got.is_truncated) return false;
  int queued = 0;
  return poll_now(fd, POLLIN) != 0 && !(::ioctl(fd, FIONREAD, &queued) == 0 && queued != 0);
}

}  // namespace

std::optional<result<received_datagram>> one_datagram::operator()(int fd) const noexcept {
  received_datagram got;
  if (!take(fd, room_, got)) return failed_transfer<received_datagram>();
  if (is_end(fd, kind_, got)) return unexpected(kedge::errc::end_of_file);
  return result<received_datagram>(got);
}

std::optional<result<std::size_t>> several_datagrams::operator()(int fd) const noexcept {
  std::size_t count = 0;
  while (count < slots_.size() && take(fd, slots_[count].room, slots_[count].got)) {
    if (is_end(fd, kind_, slots_[count].got)) {
      if (count == 0) return unexpected_end();
      break;  // the end is still there for the next call
    }
    ++count;
  }
  if (count == 0 && !slots_.empty()) return failed_transfer();
  return result<std::size_t>(count);
}

std::optional<result<void>> sent_datagram::operator()(int fd) const noexcept {
  const auto send = [this, fd] {
    const sockaddr* const peer = to_ != nullptr ? to_->data() : nullptr;
    return ::sendto(fd, bytes_.data(), bytes_.size(), MSG_DONTWAIT | host::send_flags, peer,
                    to_ != nullptr ? to_->size() : 0);
  };
  ssize_t n = uninterrupted(send);
  // The error may be that of an earlier datagram. If it is this one's, it comes again.
  if (n < 0 && to_ != nullptr && is_of_earlier_datagram(errno)) n = uninterrupted(send);
  if (n >= 0) return result<void>();
  if (would_block() && waits_) return std::nullopt;
  return unexpected(last_error());
}

datagram_socket::datagram_socket(reactor& r, owned_fd socket, datagram_kind k) : kind_(k) {
  descriptor file(r, socket.release(), file_kind::messages);
  file_ = std::make_shared<descriptor>(std::move(file));
}

datagram_socket& datagram_socket::operator=(datagram_socket&& other) noexcept {
  if (this != &other) {
    close();
    file_ = std::move(other.file_);
    kind_ = other.kind_;
  }
  return *this;
}

result<void> datagram_socket::connect(const address& peer) noexcept {
  if (!*this) return unexpected(kedge::errc::closed);
  const int fd = native_handle();
  if (uninterrupted([&] { return ::connect(fd, peer.data(), peer.size()); }) != 0) {
    return failed_call("connect fd", fd);
  }
  return {};
}

result<address> datagram_socket::local_address() const {
  return local_address_of(native_handle());
}

result<address> datagram_socket::peer_address() const {
  return peer_address_of(native_handle());
}

result<void> datagram_socket::set_option(int level, int option, int value) noexcept {
  return set_socket_option(native_handle(), level, option, value);
}

result<void> datagram_socket::set_receive_buffer(std::size_t bytes) noexcept {
  return set_buffer_size(native_handle(), SO_RCVBUF, bytes);
}

result<void> datagram_socket::set_send_buffer(std::size_t bytes) noexcept {
  return set_buffer_size(native_handle(), SO_SNDBUF, bytes);
}

}  // namespace kedge::net
