// udp_socket: binding, and the options of groups.
#include "kedge/net/udp_socket.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "kedge/net/bound_socket.h"
#include "kedge/net/errc.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

owned_fd make_bound(const address& at, const udp_options& options) {
  constexpr std::array<socket_flag, 2> sharing{
      {{SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_REUSEPORT}}};
  const std::size_t count = options.shares_port ? sharing.size() : 0;
  return bound_socket("bind to", at, SOCK_DGRAM, options.v6_only, std::span(sharing).first(count));
}

// Gives the number of an interface, 0 for none in particular.
result<unsigned> index_of(std::string_view name) noexcept {
  if (name.empty()) return 0u;
  char text[IF_NAMESIZE] = {};
  const bool is_c_string = name.find('\0') == name.npos;
  if (is_c_string && name.size() < sizeof(text)) std::memcpy(text, name.data(), name.size());
  const unsigned found = text[0] != '\0' ? ::if_nametoindex(text) : 0;
  if (found == 0) return unexpected(make_error_code(errc::no_interface));
  return found;
}

}  // namespace

udp_socket::udp_socket(reactor& r, const address& at, udp_options options)
    : datagram_socket(r, make_bound(at, options), datagram_kind::datagrams),
      family_(local_address().value_or(at).family()) {}

result<void> udp_socket::change_membership(int option, const address& group,
                                           std::string_view interface) noexcept {
  if (!*this) return unexpected(kedge::errc::closed);
  const result<unsigned> index = index_of(interface);
  if (!index) return unexpected(index.error());
  group_req wanted{};
  wanted.gr_interface = *index;
  std::memcpy(&wanted.gr_group, group.data(), group.size());
  const int level = family_ == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  if (::setsockopt(native_handle(), level, option, &wanted, sizeof(wanted)) == 0) return {};
  return failed_call("setsockopt fd", native_handle());
}

result<void> udp_socket::join(const address& group, std::string_view interface) noexcept {
  return change_membership(MCAST_JOIN_GROUP, group, interface);
}

result<void> udp_socket::leave(const address& group, std::string_view interface) noexcept {
  return change_membership(MCAST_LEAVE_GROUP, group, interface);
}

result<void> udp_socket::set_internet_option(int v4, int v6, int value) noexcept {
  if (family_ == AF_INET6) return set_option(IPPROTO_IPV6, v6, value);
  if (!*this) return unexpected(kedge::errc::closed);
  // The BSDs take these options of IPv4 as a byte.
  const auto byte = static_cast<unsigned char>(value);
  if (value < 0 || value > 255) errno = EINVAL;
  if (value >= 0 && value <= 255 &&
      ::setsockopt(native_handle(), IPPROTO_IP, v4, &byte, sizeof(byte)) == 0) {
    return {};
  }
  return failed_call("setsockopt fd", native_handle());
}

result<void> udp_socket::set_multicast_interface(std::string_view interface) noexcept {
  const result<unsigned> index = index_of(interface);
  if (!index) return unexpected(index.error());
  const int number = static_cast<int>(*index);
  if (family_ == AF_INET6) return set_option(IPPROTO_IPV6, IPV6_MULTICAST_IF, number);
  if (!*this) return unexpected(kedge::errc::closed);
  ip_mreqn wanted{};
  wanted.imr_ifindex = number;
  if (::setsockopt(native_handle(), IPPROTO_IP, IP_MULTICAST_IF, &wanted, sizeof(wanted)) == 0) {
    return {};
  }
  return failed_call("setsockopt fd", native_handle());
}

result<void> udp_socket::set_multicast_loop(bool on) noexcept {
  return set_internet_option(IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, on ? 1 : 0);
}

result<void> udp_socket::set_multicast_hops(int hops) noexcept {
  return set_internet_option(IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, hops);
}

result<void> udp_socket::set_broadcast(bool on) noexcept {
  return set_option(SOL_SOCKET, SO_BROADCAST, on ? 1 : 0);
}

}  // namespace kedge::net
