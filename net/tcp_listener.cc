// tcp_listener: binding and listening.
#include "kedge/net/tcp_listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>

#include "kedge/net/errc.h"
#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

// Returns an empty object, with errno, on failure.
owned_fd bound_socket(const address& at, const tcp_listen_options& options) {
  constexpr int on = 1;
  const int v6_only = options.v6_only ? 1 : 0;
  owned_fd fd(host::make_socket(at.family(), SOCK_STREAM));
  const auto set = [&](int level, int option, const int& value) {
    return ::setsockopt(fd.get(), level, option, &value, sizeof(value)) == 0;
  };
  // Accepted sockets inherit TCP_NODELAY.
  if (!fd || !set(SOL_SOCKET, SO_REUSEADDR, on) || !set(IPPROTO_TCP, TCP_NODELAY, on) ||
      (options.reuse_port && !set(SOL_SOCKET, SO_REUSEPORT, on)) ||
      (at.family() == AF_INET6 && !set(IPPROTO_IPV6, IPV6_V6ONLY, v6_only)) ||
      ::bind(fd.get(), at.data(), at.size()) != 0 || ::listen(fd.get(), options.backlog) != 0) {
    const int why = errno;
    fd = owned_fd();
    errno = why;
  }
  return fd;
}

// The same, with IPv4 where the wildcard of IPv6 means both and the host has no IPv6.
owned_fd listen_on(const address& at, const tcp_listen_options& options) {
  if (!at.is_internet()) {
    throw std::system_error(errc::not_an_internet_address, "listen on " + at.text());
  }
  owned_fd fd = bound_socket(at, options);
  if (!fd && at.family() == AF_INET6 && at.is_wildcard() && !options.v6_only &&
      (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
    fd = bound_socket(address::parse_host("0.0.0.0", at.port()).value(), options);
  }
  return fd;
}

}  // namespace

tcp_listener::tcp_listener(reactor& r, const address& at, tcp_listen_options options)
    : tcp_listener(r, std::span<const address>(&at, 1), options) {}

tcp_listener::tcp_listener(reactor& r, std::span<const address> at, tcp_listen_options options)
    : listening_socket(std::make_shared<state>()) {
  state_->sockets.reserve(at.size());
  state_->addresses.reserve(at.size());
  for (const address& each : at) {
    owned_fd fd = listen_on(each, options);
    if (!fd) throw listen_error(each);
    state_->addresses.push_back(
        address_by(::getsockname, fd.get(), "getsockname fd").value_or(each));
    state_->sockets.emplace_back(r, fd.release(), file_kind::other_stream);
  }
  state_->open_spare();
}

}  // namespace kedge::net
