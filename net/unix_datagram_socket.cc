// unix_datagram_socket: how it comes to be.
#include "kedge/net/unix_datagram_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "kedge/net/bound_socket.h"
#include "kedge/net/errc.h"
#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"
#include "kedge/runtime/sleep.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

owned_fd make_datagram_socket() {
  owned_fd made(host::make_socket(AF_UNIX, SOCK_DGRAM));
  if (!made) throw std::system_error(last_error(), "make a Unix socket");
  return made;
}

owned_fd make_bound(const address& at) {
  if (!at.is_unix()) throw std::system_error(errc::not_a_unix_address, "bind to " + at.text());
  owned_fd made = make_datagram_socket();
  if (::bind(made.get(), at.data(), at.size()) != 0) throw bind_error("bind to", at, SOCK_DGRAM);
  return made;
}

bool means_full(const std::error_code& e) noexcept {
  return e == std::errc::resource_unavailable_try_again || e == std::errc::no_buffer_space;
}

}  // namespace

unix_datagram_socket::unix_datagram_socket(reactor& r)
    : unix_datagram_socket(r, make_datagram_socket(), datagram_kind::datagrams) {}

unix_datagram_socket::unix_datagram_socket(reactor& r, const address& at)
    : unix_datagram_socket(r, make_bound(at), datagram_kind::datagrams) {}

task<result<void>> unix_datagram_socket::send_patiently(std::shared_ptr<descriptor> file,
                                                        std::span<const std::byte> bytes,
                                                        const address* to) {
  if (!file) co_return unexpected(make_error_code(kedge::errc::closed));
  for (clock::duration pause = 1ms;; pause = std::min<clock::duration>(2 * pause, 64ms)) {
    // Only a connected socket becomes writable when its receiver has room.
    const auto sent = co_await file->writing(sent_datagram(bytes, to, to == nullptr));
    if (sent || !means_full(sent.error())) co_return sent;
    co_await sleep_for(pause);
  }
}

std::pair<unix_datagram_socket, unix_datagram_socket> unix_datagram_socket::make_pair(
    reactor& r, int type, datagram_kind k) {
  auto [first, second] = make_socket_pair(type);
  return {unix_datagram_socket(r, std::move(first), k),
          unix_datagram_socket(r, std::move(second), k)};
}

std::pair<unix_datagram_socket, unix_datagram_socket> unix_datagram_socket::pair(reactor& r) {
  return make_pair(r, SOCK_DGRAM, datagram_kind::datagrams);
}

std::pair<unix_datagram_socket, unix_datagram_socket> unix_datagram_socket::packet_pair(
    reactor& r) {
  return make_pair(r, SOCK_SEQPACKET, datagram_kind::packets);
}

result<unix_datagram_socket> unix_datagram_socket::connect_packets(reactor& r, const address& to) {
  owned_fd made(host::make_socket(AF_UNIX, SOCK_SEQPACKET));
  if (!made) return unexpected(last_error());
  unix_datagram_socket connecting(r, std::move(made), datagram_kind::packets);
  const result<void> end = connecting.connect(to);
  if (!end) return end.failure();
  return connecting;
}

unix_datagram_socket unix_datagram_socket::adopt(reactor& r, owned_fd socket) {
  const int fd = socket.get();
  const auto refuse = [](std::error_code why) { throw std::system_error(why, "adopt a socket"); };
  int type = 0;
  socklen_t size = sizeof(type);
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) refuse(last_error());
  const result<address> name = address_by(::getsockname, fd, "getsockname fd");
  const bool is_packets = type == SOCK_SEQPACKET;
  if (!name || !name->is_unix() || (!is_packets && type != SOCK_DGRAM)) {
    refuse(std::make_error_code(std::errc::invalid_argument));
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) refuse(last_error());
  return {r, std::move(socket), is_packets ? datagram_kind::packets : datagram_kind::datagrams};
}

}  // namespace kedge::net
