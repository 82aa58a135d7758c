// bound_socket(): a TCP or UDP socket that is bound to an address. bind_error(): why there is none.
// For the .cc files of this room. Any thread.
#pragma once

#include <span>
#include <system_error>

#include "kedge/net/address.h"
#include "kedge/net/owned_fd.h"

namespace kedge::net {

// An option of setsockopt(2) that is switched on.
struct socket_flag {
  int level;
  int option;
};

// Returns the error of a bind or listen that has failed with errno. Its message begins with
// `doing`: "listen on 127.0.0.1:80, which process 12 (nginx) holds", where the system tells that.
// `type` is SOCK_STREAM or SOCK_DGRAM.
std::system_error bind_error(const char* doing, const address& at, int type);

// Makes a socket of host.h's functions, sets the flags, and binds it to an IPv4 or IPv6 address.
// The wildcard of IPv6 means IPv4 too unless `v6_only` is set, and on a host without IPv6 means
// 0.0.0.0. Throws bind_error(), and std::system_error (net::errc::not_an_internet_address).
owned_fd bound_socket(const char* doing, const address& at, int type, bool v6_only,
                      std::span<const socket_flag> flags);

}  // namespace kedge::net
