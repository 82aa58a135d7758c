// bound_socket(): binding with and without IPv6.
#include "kedge/net/bound_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "kedge/net/errc.h"
#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"

namespace kedge::net {
namespace {

// Returns an empty object, with errno, on failure.
owned_fd bind_once(const address& at, int type, bool v6_only, std::span<const socket_flag> flags) {
  owned_fd made(host::make_socket(at.family(), type));
  const auto set = [&](int level, int option, int value) {
    return set_socket_option(made.get(), level, option, value).has_value();
  };
  const auto set_flag = [&](const socket_flag& f) { return set(f.level, f.option, 1); };
  if (!made || !std::all_of(flags.begin(), flags.end(), set_flag) ||
      (at.family() == AF_INET6 && !set(IPPROTO_IPV6, IPV6_V6ONLY, v6_only ? 1 : 0)) ||
      ::bind(made.get(), at.data(), at.size()) != 0) {
    const int why = errno;
    made = owned_fd();
    errno = why;
  }
  return made;
}

}  // namespace

std::system_error bind_error(const char* doing, const address& at, int type) {
  const std::error_code why = last_error();
  std::string what = doing + (" " + at.text());
  if (why == std::errc::address_in_use) {
    const std::string holder = host::holder_of(at.data(), at.size(), type);
    if (!holder.empty()) what += ", which " + holder + " holds";
  }
  return {why, what};
}

owned_fd bound_socket(const char* doing, const address& at, int type, bool v6_only,
                      std::span<const socket_flag> flags) {
  if (!at.is_internet()) {
    throw std::system_error(errc::not_an_internet_address, doing + (" " + at.text()));
  }
  owned_fd made = bind_once(at, type, v6_only, flags);
  // A host without IPv6, or with IPv6 switched off.
  if (!made && at.family() == AF_INET6 && at.is_wildcard() && !v6_only &&
      (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
    made = bind_once(address::parse_host("0.0.0.0", at.port()).value(), type, v6_only, flags);
  }
  if (!made) throw bind_error(doing, at, type);
  return made;
}

}  // namespace kedge::net
