// tcp_listener: takes TCP connections.
//
//     net::tcp_listener listener(loop, net::address::parse(":8080").value());
//     net::tcp_stream client = (co_await listener.accept()).value();
//
// serve.h runs a handler for each connection. The wildcard `[::]` takes IPv4 connections too; on a
// host without IPv6 it means 0.0.0.0. See listening_socket.h.
#pragma once

#include <sys/socket.h>

#include <span>
#include <utility>
#include <vector>

#include "kedge/net/address.h"
#include "kedge/net/listening_socket.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/tcp_stream.h"

namespace kedge::net {

struct tcp_listen_options {
  int backlog = SOMAXCONN;  // connections that wait to be accepted; the system bounds it
  bool reuse_port = false;  // SO_REUSEPORT: several listeners of one port share its connections
  bool v6_only = false;     // `[::]` does not take IPv4 connections
};

class tcp_listener : public listening_socket {
 public:
  using stream_type = tcp_stream;

  // Makes a closed listener.
  tcp_listener() = default;
  // Listens at once. Port 0 becomes a free port: see local_address(). Throws std::system_error
  // whose message names the address and, where the address is in use and the system tells, the
  // process that holds it; net::errc::not_an_internet_address; std::bad_alloc.
  tcp_listener(reactor& r, const address& at, tcp_listen_options options = {});
  // On several addresses. All, or none if one fails. Requires one at least.
  tcp_listener(reactor& r, std::span<const address> at, tcp_listen_options options = {});

  // Takes over listening TCP sockets, as a service manager opens them (activation.h). Requires one
  // at least. Throws std::system_error (EINVAL) if one is another file, the system's error, and
  // std::bad_alloc, having closed them.
  static tcp_listener adopt(reactor& r, std::vector<owned_fd> sockets);

  // Gives the next connection. The second form sets `peer`, which must live until the wait ends,
  // to where it comes from.
  task<result<tcp_stream>> accept() const { return accept_from<tcp_stream>(state_, nullptr); }
  task<result<tcp_stream>> accept(address& peer) const {
    return accept_from<tcp_stream>(state_, &peer);
  }

 private:
  using listening_socket::listening_socket;
};

}  // namespace kedge::net
