// A fuzz target: any text as an address. What parses must print to a text that parses to an equal
// address, and what is refused must have the error of a part that is wrong.
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "byte_source.h"
#include "kedge/net/address.h"
#include "kedge/net/errc.h"

namespace kedge::net {
namespace {

using fuzz::byte_source;
using fuzz::require;

constexpr std::string_view unix_prefix = "unix:";

// Text from parts of addresses and from bytes, as the input says. Some of it has the beginning and
// the end of an address.
std::string draw_text(byte_source& input) {
  constexpr std::array<std::string_view, 20> parts{
      "127.0.0.1", "0", "255.", "::",    ":",     "[", "]",       "%", "lo", "1",
      "fe80::1",   "f", "80",   "65535", "65536", "@", "::ffff:", ".", "/",  "unix:"};
  constexpr std::array<std::string_view, 4> beginnings{"", "", "[", "unix:"};
  constexpr std::array<std::string_view, 4> ends{"", ":80", "]:80", ""};
  const std::uint32_t shape = input.below(beginnings.size());
  std::string text(beginnings[shape]);
  while (!input.empty() && text.size() < 300) {
    const std::uint32_t kind = input.below(parts.size() + 4);
    if (kind < parts.size()) text += parts[kind];
    if (kind >= parts.size()) text += static_cast<char>(input.byte());
  }
  return text.append(ends[shape]);
}

bool is_port(std::string_view text) {
  std::uint32_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    number = number * 10 + static_cast<std::uint32_t>(c - '0');
    if (number > 65535) return false;
  }
  return !text.empty();
}

// Returns whether the part that the error names is wrong, or may be, in the text.
bool names_part(const std::error_code& why, std::string_view text) {
  const bool is_unix = text.starts_with(unix_prefix);
  const std::string_view path = is_unix ? text.substr(unix_prefix.size()) : std::string_view();
  const std::size_t colon = text.rfind(':');
  const bool has_port = colon != text.npos && colon + 1 != text.size();
  const std::string_view host = colon == text.npos ? text : text.substr(0, colon);
  const std::string_view port = has_port ? text.substr(colon + 1) : std::string_view();
  if (why == errc::empty_address) return text.empty() || text == unix_prefix;
  if (why == errc::path_too_long) return path.size() >= sizeof(sockaddr_un::sun_path);
  if (why == errc::bad_path) return path.find('\0') != path.npos && !path.starts_with('@');
  if (why == errc::no_abstract_names) return path.starts_with('@');
  if (is_unix || text.empty()) return false;
  if (why == errc::no_port) return !has_port;
  if (why == errc::bad_port) return has_port && !is_port(port);
  if (why == errc::bad_brackets) return host.starts_with('[');
  if (why == errc::unbracketed_host) return !host.starts_with('[') && host.find(':') != host.npos;
  if (why == errc::bad_zone) return host.find('%') != host.npos && is_port(port);
  return why == errc::bad_host && !host.empty() && is_port(port);
}

void check_round_trip(const address& a) {
  const std::string text = a.text();
  const result<address> again = address::parse(text);
  require(again.has_value(), "what an address prints is refused");
  require(*again == a && !(*again < a) && !(a < *again), "what an address prints is another one");
  require(again->hash() == a.hash(), "equal addresses have two hashes");
  require(again->text() == text, "equal addresses print two texts");
  require(a.is_unix() || a.is_internet(), "an address has neither family");
}

void parse(byte_source input) {
  const auto number = static_cast<std::uint16_t>(input.word());
  const std::string text = draw_text(input);
  if (const result<address> a = address::parse(text)) {
    check_round_trip(*a);
    check_round_trip(a->with_port(number));
    require(a->with_port(a->port()) == *a, "an address with its own port is another one");
  } else {
    require(names_part(a.error(), text), "an error names a part that is right");
  }
  if (const result<address> a = address::parse_host(text, number)) {
    require(a->port() == number, "a host has another port");
    check_round_trip(*a);
  }
  if (const result<address> a = address::unix_path(text)) {
    check_round_trip(*a);
    require(*address::parse(std::string(unix_prefix) + text) == *a, "a path has two addresses");
  }
}

}  // namespace
}  // namespace kedge::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kedge::net::parse(fuzz::byte_source({data, size}));
  return 0;
}
