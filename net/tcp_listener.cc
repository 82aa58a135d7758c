// tcp_listener: binding and listening.
#include "kedge/net/tcp_listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <array>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kedge/net/bound_socket.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

// Accepted sockets inherit TCP_NODELAY.
owned_fd listen_on(const address& at, const tcp_listen_options& options) {
  constexpr std::array<socket_flag, 3> flags{
      {{SOL_SOCKET, SO_REUSEADDR}, {IPPROTO_TCP, TCP_NODELAY}, {SOL_SOCKET, SO_REUSEPORT}}};
  const std::size_t count = options.reuse_port ? flags.size() : flags.size() - 1;
  owned_fd made =
      bound_socket("listen on", at, SOCK_STREAM, options.v6_only, std::span(flags).first(count));
  if (::listen(made.get(), options.backlog) != 0) throw bind_error("listen on", at, SOCK_STREAM);
  return made;
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
    state_->addresses.push_back(local_address_of(fd.get()).value_or(each));
    state_->sockets.emplace_back(r, fd.release(), file_kind::other_stream);
  }
  state_->open_spare();
}

tcp_listener tcp_listener::adopt(reactor& r, std::vector<owned_fd> sockets) {
  tcp_listener made(adopted(r, std::move(sockets), false));
  for (const descriptor& each : made.state_->sockets) {
    // Accepted sockets inherit it. A socket that does not take it is slower, and no worse.
    (void)set_socket_option(each.native_handle(), IPPROTO_TCP, TCP_NODELAY, 1);
  }
  return made;
}

}  // namespace kedge::net
