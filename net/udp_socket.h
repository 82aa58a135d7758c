// udp_socket: sends and receives UDP datagrams over IPv4 and IPv6, to one peer, many, or a group.
//
//     net::udp_socket server(loop, net::address::parse("0.0.0.0:5353").value());
//     server.join(net::address::parse("224.0.0.251:0").value(), "eth0").value();
//
// See datagram_socket.h for receive(), connect() and the errors. The wildcard `[::]` receives from
// IPv4 too: such senders appear as `[::ffff:192.0.2.1]`, and are answered there. On a host without
// IPv6 it becomes `0.0.0.0`, unless `v6_only` is set.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "kedge/net/address.h"
#include "kedge/net/datagram_socket.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

struct udp_options {
  // SO_REUSEADDR and SO_REUSEPORT: other sockets that set this too may be bound to the port. A
  // datagram to a group goes to all of its members, one to a host to one of the sockets.
  bool shares_port = false;
  bool v6_only = false;  // `[::]` does not receive from IPv4
};

class udp_socket : public datagram_socket {
 public:
  // Makes a closed socket.
  udp_socket() = default;
  // Binds to `at`, whose port 0 becomes a free port: see local_address(). A client binds to the
  // wildcard of its peer's family. Throws std::system_error whose message names the address;
  // net::errc::not_an_internet_address; std::bad_alloc.
  udp_socket(reactor& r, const address& at, udp_options options = {});

  // Waits while the system has no room for the datagram, and sends all of it to the peer of
  // connect(). Gives EMSGSIZE if it is too large for one, and ENOTCONN or EDESTADDRREQ without a
  // peer.
  auto send(std::span<const std::byte> bytes) { return writing(sent_datagram(bytes, nullptr)); }
  // Likewise, to `to`.
  auto send_to(std::span<const std::byte> bytes, const address& to) {
    return writing(sent_datagram(bytes, &to));
  }

  // Join and leave a group: what is sent to it on the network of the interface arrives here, if the
  // port matches. `group` is an address of the family that the socket is bound to; its port is of
  // no account. `interface` is a name ("eth0"); empty: the system chooses. Give
  // net::errc::no_interface if there is none of this name, EINVAL if the address is not that of a
  // group, EADDRINUSE for a second join and EADDRNOTAVAIL for a leave without a join.
  result<void> join(const address& group, std::string_view interface = {}) noexcept;
  result<void> leave(const address& group, std::string_view interface = {}) noexcept;
  // What is sent to a group goes out through this interface. Gives net::errc::no_interface.
  result<void> set_multicast_interface(std::string_view interface) noexcept;
  // Whether members on this host, this program among them, receive what is sent to a group. They do
  // unless it is set.
  result<void> set_multicast_loop(bool on) noexcept;
  // How many networks a datagram to a group may cross: 1 unless it is set, the sender's own.
  result<void> set_multicast_hops(int hops) noexcept;

  // Allows send_to() a broadcast address, which gives EACCES otherwise.
  result<void> set_broadcast(bool on) noexcept;

 private:
  result<void> change_membership(int option, const address& group,
                                 std::string_view interface) noexcept;
  // Sets the option of IPv4 or of IPv6, as the socket is.
  result<void> set_internet_option(int v4, int v6, int value) noexcept;

  int family_ = 0;
};

}  // namespace kedge::net
