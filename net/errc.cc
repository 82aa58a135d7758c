// The messages of net::errc.
#include "kedge/net/errc.h"

#include <sys/un.h>

#include <string>

#include "kedge/runtime/base/never_destroyed.h"

namespace kedge::net {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "kedge.net"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::empty_address:
        return "the address is empty";
      case errc::bad_host:
        return "the host is neither an IPv4 nor an IPv6 address";
      case errc::unbracketed_host:
        return "an IPv6 address with a port stands in brackets, as in [::1]:80";
      case errc::bad_brackets:
        return "the brackets are not those of an IPv6 address with a port, as in [::1]:80";
      case errc::bad_zone:
        return "the zone is not a network interface";
      case errc::no_port:
        return "the port is missing, as in 127.0.0.1:80";
      case errc::bad_port:
        return "the port is not a number from 0 to 65535";
      case errc::path_too_long:
        return "the path of the Unix socket is longer than " +
               std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes";
      case errc::no_abstract_names:
        return "this system has no abstract names of Unix sockets";
      case errc::not_an_internet_address:
        return "the address is neither IPv4 nor IPv6";
      case errc::not_a_unix_address:
        return "the address is not that of a Unix socket";
      case errc::no_address:
        return "the name has no address";
      case errc::limit_exceeded:
        return "the peer has sent more than the limit allows";
      case errc::cut_short:
        return "the stream has ended within what was to be read";
      case errc::no_interface:
        return "no network interface has this name";
      case errc::bad_path:
        return "the path of the Unix socket contains a NUL";
      case errc::half_written:
        return "an earlier write was cancelled when a part of it had been sent";
    }
    return "unknown error " + std::to_string(value);
  }
};

// Destructors of static objects may use codes.
constinit const base::never_destroyed<category> kept;

}  // namespace

const std::error_category& net_category() noexcept {
  return kept.object;
}

}  // namespace kedge::net
