// address: parsing, printing and comparing.
#include "kedge/net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <stdexcept>

#include "kedge/net/host.h"
#include "kedge/net/parse_number.h"

namespace kedge::net {
namespace {

constexpr std::string_view unix_prefix = "unix:";
constexpr std::size_t path_begin = offsetof(sockaddr_un, sun_path);

template <class Address>
const Address& as(const sockaddr* a) noexcept {
  return *reinterpret_cast<const Address*>(a);
}

address address_of(const auto& system) {
  return {reinterpret_cast<const sockaddr*>(&system), sizeof(system)};
}

// Calls `parse` with the text as a C string. Returns false for text that is too long for a host.
bool parse_c_string(std::string_view text, auto parse) {
  std::array<char, INET6_ADDRSTRLEN + IF_NAMESIZE> copy{};
  if (text.size() >= copy.size() || text.find('\0') != text.npos) return false;
  std::copy(text.begin(), text.end(), copy.begin());
  return parse(copy.data());
}

result<unsigned> parse_zone(std::string_view zone) {
  unsigned index = 0;
  const bool is_known = parse_c_string(zone, [&](const char* name) {
    index = ::if_nametoindex(name);
    return index != 0;
  });
  if (is_known || (parse_number(zone, index) && index != 0)) return index;
  return unexpected(errc::bad_zone);
}

// What inet_ntop(3) prints, and the port. serve() names each connection, and inet_ntop(3) costs
// more than accepting it.
std::string v4_text(const sockaddr_in& a) {
  std::array<char, sizeof("255.255.255.255:65535")> text;
  char* at = text.data();
  const auto put = [&](unsigned number, char behind) {
    at = std::to_chars(at, text.data() + text.size(), number).ptr;
    *at++ = behind;
  };
  const auto* const host = reinterpret_cast<const unsigned char*>(&a.sin_addr);
  for (int i = 0; i < 4; ++i) put(host[i], i == 3 ? ':' : '.');
  put(ntohs(a.sin_port), '\0');
  return text.data();
}

}  // namespace

address::address(const sockaddr* a, std::size_t size) {
  if (size > sizeof(storage_)) throw std::invalid_argument("kedge: an address of this size");
  if (size == 0) return;
  std::memcpy(&storage_, a, size);
  size_ = static_cast<socklen_t>(size);
  host::set_length(reinterpret_cast<sockaddr*>(&storage_), size);
}

result<address> address::parse_host(std::string_view host, std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  const auto is_v4 = [&](const char* s) { return ::inet_pton(AF_INET, s, &v4.sin_addr) == 1; };
  if (parse_c_string(host, is_v4)) return address_of(v4);

  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  const std::size_t percent = host.find('%');
  const auto is_v6 = [&](const char* s) { return ::inet_pton(AF_INET6, s, &v6.sin6_addr) == 1; };
  if (!parse_c_string(host.substr(0, percent), is_v6)) return unexpected(errc::bad_host);
  if (percent != host.npos) {
    const result<unsigned> zone = parse_zone(host.substr(percent + 1));
    if (!zone) return unexpected(zone.error());
    v6.sin6_scope_id = *zone;
  }
  return address_of(v6);
}

result<address> address::unix_path(std::string_view path) {
  sockaddr_un name{};
  if (path.empty()) return unexpected(errc::empty_address);
  const bool is_abstract = path.front() == '@';
  if (is_abstract && !host::has_abstract_names) return unexpected(errc::no_abstract_names);
  if (path.size() >= sizeof(name.sun_path)) return unexpected(errc::path_too_long);
  if (!is_abstract && path.find('\0') != path.npos) return unexpected(errc::bad_path);
  name.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), name.sun_path);
  if (is_abstract) name.sun_path[0] = '\0';
  // A path ends with a NUL, and an abstract name with its size.
  return address(reinterpret_cast<const sockaddr*>(&name),
                 path_begin + path.size() + (is_abstract ? 0 : 1));
}

result<address> address::parse(std::string_view text) {
  if (text.empty()) return unexpected(errc::empty_address);
  if (text.starts_with(unix_prefix)) return unix_path(text.substr(unix_prefix.size()));

  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return unexpected(errc::no_port);
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return unexpected(errc::bad_brackets);
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == host.npos) return unexpected(errc::bad_brackets);
  } else if (host.find(':') != host.npos) {
    return unexpected(errc::unbracketed_host);
  }
  if (colon + 1 == text.size()) return unexpected(errc::no_port);
  std::uint16_t port = 0;
  if (!parse_number(text.substr(colon + 1), port)) return unexpected(errc::bad_port);
  return parse_host(host.empty() ? "::" : host, port);
}

std::uint16_t address::port() const noexcept {
  switch (family()) {
    case AF_INET:
      return ntohs(as<sockaddr_in>(data()).sin_port);
    case AF_INET6:
      return ntohs(as<sockaddr_in6>(data()).sin6_port);
    default:
      return 0;
  }
}

address address::with_port(std::uint16_t port) const noexcept {
  address a = *this;
  auto* const system = reinterpret_cast<sockaddr*>(&a.storage_);
  if (family() == AF_INET) reinterpret_cast<sockaddr_in*>(system)->sin_port = htons(port);
  if (family() == AF_INET6) reinterpret_cast<sockaddr_in6*>(system)->sin6_port = htons(port);
  return a;
}

std::string_view address::path() const noexcept {
  if (!is_unix() || size_ <= path_begin) return {};
  const char* const path = as<sockaddr_un>(data()).sun_path;
  return {path, ::strnlen(path, size_ - path_begin)};
}

bool address::is_wildcard() const noexcept {
  if (family() == AF_INET) return as<sockaddr_in>(data()).sin_addr.s_addr == htonl(INADDR_ANY);
  return family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&as<sockaddr_in6>(data()).sin6_addr);
}

bool address::is_loopback() const noexcept {
  if (family() == AF_INET) return ntohl(as<sockaddr_in>(data()).sin_addr.s_addr) >> 24 == 127;
  return family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&as<sockaddr_in6>(data()).sin6_addr);
}

bool address::is_multicast() const noexcept {
  if (family() == AF_INET) return IN_MULTICAST(ntohl(as<sockaddr_in>(data()).sin_addr.s_addr));
  return family() == AF_INET6 && IN6_IS_ADDR_MULTICAST(&as<sockaddr_in6>(data()).sin6_addr);
}

std::string address::text() const {
  std::array<char, INET6_ADDRSTRLEN> host{};
  switch (family()) {
    case AF_INET:
      return v4_text(as<sockaddr_in>(data()));
    case AF_INET6: {
      const auto& v6 = as<sockaddr_in6>(data());
      ::inet_ntop(AF_INET6, &v6.sin6_addr, host.data(), host.size());
      std::string text = "[" + std::string(host.data());
      if (v6.sin6_scope_id != 0) {
        std::array<char, IF_NAMESIZE> zone{};
        const bool is_known = ::if_indextoname(v6.sin6_scope_id, zone.data()) != nullptr;
        text += "%" + (is_known ? std::string(zone.data()) : std::to_string(v6.sin6_scope_id));
      }
      return text + "]:" + std::to_string(port());
    }
    case AF_UNIX: {
      const std::string_view name = key();
      std::string text(unix_prefix);
      if (path().starts_with('@')) text += "./";  // else it would be read as an abstract name
      text += name;
      if (path().empty() && !name.empty()) text[unix_prefix.size()] = '@';
      return text;
    }
    case AF_UNSPEC:
      return {};
    default:
      return "address family " + std::to_string(family());
  }
}

// What tells addresses of one family apart besides the port: the bytes of the host, or the name.
std::string_view address::key() const noexcept {
  const auto bytes = [](const auto& part) {
    return std::string_view(reinterpret_cast<const char*>(&part), sizeof(part));
  };
  switch (family()) {
    case AF_INET:
      return bytes(as<sockaddr_in>(data()).sin_addr);
    case AF_INET6:
      return bytes(as<sockaddr_in6>(data()).sin6_addr);
    case AF_UNIX: {
      if (!path().empty()) return path();
      const std::size_t size = size_ <= path_begin ? 0 : size_ - path_begin;
      return {as<sockaddr_un>(data()).sun_path, size};
    }
    default:
      return {};
  }
}

namespace {
unsigned zone_of(const address& a) noexcept {
  return a.family() == AF_INET6 ? as<sockaddr_in6>(a.data()).sin6_scope_id : 0;
}
}  // namespace

std::strong_ordering operator<=>(const address& a, const address& b) noexcept {
  if (a.family() != b.family()) return a.family() <=> b.family();
  if (const auto order = a.key().compare(b.key()); order != 0) return order <=> 0;
  if (zone_of(a) != zone_of(b)) return zone_of(a) <=> zone_of(b);
  return a.port() <=> b.port();
}

std::size_t address::hash() const noexcept {
  const std::size_t h = std::hash<std::string_view>()(key());
  return h ^ (static_cast<std::size_t>(port()) << 16U) ^ zone_of(*this);
}

}  // namespace kedge::net
