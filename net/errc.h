// errc: how names, addresses and framing can be wrong. What the system refuses has the system's
// codes, and the end of a stream and the like those of kedge::errc.
//
// The values make std::error_codes (category "kedge.net"). Any thread.
#pragma once

#include <system_error>

namespace kedge::net {

enum class errc {
  empty_address = 1,  // the text of an address is empty
  bad_host,           // before the port there is neither an IPv4 nor an IPv6 address
  unbracketed_host,   // an IPv6 address with a port stands in brackets: [::1]:80
  bad_brackets,       // text that begins with '[' goes on with an IPv6 address, "]:" and a port
  bad_zone,           // what follows '%' is neither an interface nor its number
  no_port,            // an address ends with ':' and a port
  bad_port,           // a port is a number from 0 to 65535
  path_too_long,      // a Unix path has no room in sun_path
  no_abstract_names,  // this system has no Unix sockets outside of the file system
  not_an_internet_address,  // an address of another family where IPv4 or IPv6 is needed
  not_a_unix_address,       // the same for Unix sockets
  no_address,               // a name has no address of the wanted kind
  limit_exceeded,           // a peer has sent more than a reader's limit allows
  cut_short,                // a stream has ended within what was to be read
  no_interface,             // no network interface has this name
  bad_path,                 // the path of a Unix socket contains a NUL
  half_written,             // a writer's large write was cancelled when a part of it had been sent
};

// The category of these codes, named "kedge.net".
const std::error_category& net_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), net_category()};
}

}  // namespace kedge::net

template <>
struct std::is_error_code_enum<kedge::net::errc> : std::true_type {};
