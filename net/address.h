// address: where a socket is: IPv4 or IPv6 with a port, or a Unix path.
//
//     const auto a = net::address::parse("127.0.0.1:80").value();
//
// | text                 | address                                                           |
// | -------------------- | ----------------------------------------------------------------- |
// | `127.0.0.1:80`       | IPv4                                                              |
// | `[::1]:80`           | IPv6                                                              |
// | `[fe80::1%eth0]:80`  | IPv6 in the zone of an interface. A name must be that of an       |
// |                      | existing interface; any number is accepted                        |
// | `:80`                | `[::]:80`; a listener takes IPv4 too                              |
// | `unix:/run/x.sock`   | a Unix socket in the file system                                  |
// | `unix:@x`            | one with an abstract name, on Linux                               |
//
// Host names are resolve()'s. Addresses are values; any thread.
#pragma once

#include <sys/socket.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "kedge/net/errc.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

class address {
 public:
  // No address: family() is AF_UNSPEC.
  address() noexcept = default;
  // Copies an address of the system's. Throws std::invalid_argument if `size` is too large for one.
  address(const sockaddr* a, std::size_t size);

  // Gives the address that the text says, or the errc that tells which part is wrong.
  static result<address> parse(std::string_view text);
  // Gives the address of a host without a port: "127.0.0.1", "::1", "fe80::1%eth0".
  static result<address> parse_host(std::string_view host, std::uint16_t port);
  // A path in the file system, or with '@' in front an abstract name.
  static result<address> unix_path(std::string_view path);

  int family() const noexcept { return storage_.ss_family; }
  bool is_internet() const noexcept { return family() == AF_INET || family() == AF_INET6; }
  bool is_unix() const noexcept { return family() == AF_UNIX; }
  explicit operator bool() const noexcept { return family() != AF_UNSPEC; }

  // 0 if the address has no port.
  std::uint16_t port() const noexcept;
  address with_port(std::uint16_t port) const noexcept;
  // The path of a Unix socket; empty if it has none, or an abstract name. A view of this object.
  std::string_view path() const noexcept;
  // An IPv4 address within IPv6 (::ffff:127.0.0.1), which a dual-stack listener gives for a peer of
  // IPv4, answers these three as the IPv4 address. It is not equal to it.
  // Whether the host is all interfaces: 0.0.0.0 or ::.
  bool is_wildcard() const noexcept;
  bool is_loopback() const noexcept;
  bool is_multicast() const noexcept;

  // As parse() takes it; "unix:" for a Unix socket without a name, "" for no address. Where a zone
  // has no interface any more its number is printed.
  std::string text() const;

  const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const noexcept { return size_; }

  // By family, then host, zone and port, or by name.
  friend bool operator==(const address& a, const address& b) noexcept { return (a <=> b) == 0; }
  friend std::strong_ordering operator<=>(const address& a, const address& b) noexcept;
  std::size_t hash() const noexcept;

 private:
  std::string_view key() const noexcept;
  std::optional<std::uint32_t> ipv4() const noexcept;

  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace kedge::net

template <>
struct std::hash<kedge::net::address> {
  std::size_t operator()(const kedge::net::address& a) const noexcept { return a.hash(); }
};
