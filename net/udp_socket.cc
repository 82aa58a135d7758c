// udp_socket: binding, and the options of groups.
#include "kedge/net/udp_socket.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "kedge/net/errc.h"
#include "kedge/net/host.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

[[noreturn]] void refuse_bind(const address& at) {
  const std::error_code why = last_error();
  std::string what = "bind to " + at.text();
  if (why == std::errc::address_in_use) {
    const std::string holder = host::holder_of(at.data(), at.size(), SOCK_DGRAM);
    if (!holder.empty()) what += ", which " + holder + " holds";
  }
  throw std::system_error(why, what);
}

// Returns an empty object, with errno, on failure.
owned_fd bound_socket(const address& at, const udp_options& options) noexcept {
  owned_fd made(host::make_socket(at.family(), SOCK_DGRAM));
  const auto set = [&](int level, int option, int value) {
    return set_socket_option(made.get(), level, option, value).has_value();
  };
  const bool shares = options.shares_port;
  if (!made || (shares && !set(SOL_SOCKET, SO_REUSEADDR, 1)) ||
      (shares && !set(SOL_SOCKET, SO_REUSEPORT, 1)) ||
      (at.family() == AF_INET6 && !set(IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0)) ||
      ::bind(made.get(), at.data(), at.size()) != 0) {
    const int why = errno;
    made = owned_fd();
    errno = why;
  }
  return made;
}

owned_fd make_bound(const address& at, const udp_options& options) {
  if (!at.is_internet()) {
    throw std::system_error(errc::not_an_internet_address, "bind to " + at.text());
  }
  owned_fd made = bound_socket(at, options);
  // A host without IPv6, or with IPv6 switched off.
  if (!made && at.family() == AF_INET6 && at.is_wildcard() && !options.v6_only &&
      (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
    made = bound_socket(address::parse_host("0.0.0.0", at.port()).value(), options);
  }
  if (!made) refuse_bind(at);
  return made;
}

// Gives the number of an interface, 0 for none in particular.
result<unsigned> index_of(std::string_view name) noexcept {
  if (name.empty()) return 0u;
  char text[IF_NAMESIZE] = {};
  if (name.size() < sizeof(text)) std::memcpy(text, name.data(), name.size());
  const unsigned found = text[0] != '\0' ? ::if_nametoindex(text) : 0;
  if (found == 0) return unexpected(make_error_code(errc::no_interface));
  return found;
}

}  // namespace

udp_socket::udp_socket(reactor& r, const address& at, udp_options options)
    : datagram_socket(r, make_bound(at, options), datagram_kind::unconnected),
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
