// address: what parses, what does not and why, and how addresses print and compare.
#include "kedge/net/address.h"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <array>
#include <cstdio>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <ostream>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_set>

#include "kedge/net/errc.h"
#include "tests/seeds.h"

namespace kedge::net {
namespace {

std::string printed(const char* text) {
  const result<address> a = address::parse(text);
  return a ? a->text() : a.error().message();
}

std::error_code refusal(std::string_view text) {
  const result<address> a = address::parse(text);
  return a ? std::error_code() : a.error();
}

address parsed(const char* text) {
  return address::parse(text).value();
}

TEST_CASE("an address prints as it is parsed") {
  for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80",
                           "[2001:db8::8:800:200c:417a]:443", "[::ffff:1.2.3.4]:1",
                           "unix:/run/x.sock", "unix:relative"}) {
    CHECK(printed(text) == text);
  }
}

TEST_CASE("an address is printed in its shortest form") {
  CHECK(printed(":8080") == "[::]:8080");
  CHECK(printed("[0:0:0:0:0:0:0:1]:080") == "[::1]:80");
  CHECK(printed("[FE80::1%1]:80") == "[fe80::1%lo]:80");
}

TEST_CASE("an address keeps what it was parsed from") {
  const address v4 = parsed("127.0.0.1:80");
  CHECK(v4.family() == AF_INET);
  CHECK(v4.size() == sizeof(sockaddr_in));
  CHECK(v4.port() == 80);
  CHECK(v4.with_port(81).text() == "127.0.0.1:81");
  CHECK(v4.is_loopback());
  CHECK(!v4.is_wildcard());
  CHECK(parsed("127.9.9.9:1").is_loopback());
  CHECK(!parsed("128.0.0.1:1").is_loopback());
  CHECK(parsed("0.0.0.0:1").is_wildcard());
  CHECK(parsed("224.0.0.1:1").is_multicast());
  CHECK(!v4.is_multicast());

  const address v6 = parsed("[::1]:80");
  CHECK(v6.family() == AF_INET6);
  CHECK(v6.is_loopback());
  CHECK(v6.with_port(1).text() == "[::1]:1");
  CHECK(parsed(":1").is_wildcard());
  CHECK(parsed("[ff02::1]:1").is_multicast());

  const address path = parsed("unix:/run/x");
  CHECK(path.is_unix());
  CHECK(path.path() == "/run/x");
  CHECK(path.port() == 0);
  CHECK(path.with_port(1) == path);
  CHECK(!path.is_internet());
}

TEST_CASE("what does not parse says which part is wrong") {
  CHECK(refusal("") == errc::empty_address);
  CHECK(refusal("127.0.0.1") == errc::no_port);
  CHECK(refusal("127.0.0.1:") == errc::no_port);
  CHECK(refusal(":") == errc::no_port);
  CHECK(refusal("[::1]:") == errc::no_port);
  CHECK(refusal("127.0.0.1:65536") == errc::bad_port);
  CHECK(refusal("127.0.0.1:-1") == errc::bad_port);
  CHECK(refusal("127.0.0.1:+1") == errc::bad_port);
  CHECK(refusal("127.0.0.1: 1") == errc::bad_port);
  CHECK(refusal("127.0.0.1:http") == errc::bad_port);
  CHECK(refusal("127.0.0.1:80 ") == errc::bad_port);
  CHECK(refusal("127.0.0.1:99999999999999999999") == errc::bad_port);
  CHECK(refusal("localhost:80") == errc::bad_host);
  CHECK(refusal("127.0.0:80") == errc::bad_host);
  CHECK(refusal("127.0.0.256:80") == errc::bad_host);
  CHECK(refusal("0x7f.0.0.1:80") == errc::bad_host);
  CHECK(refusal("127.0.0.01:80") == errc::bad_host);  // octal to some
  CHECK(refusal(" 127.0.0.1:80") == errc::bad_host);
  CHECK(refusal(std::string_view("127.0.0.1\0:80", 13)) == errc::bad_host);
  CHECK(refusal("::1:80") == errc::unbracketed_host);
  CHECK(refusal("[::1:80") == errc::bad_brackets);
  CHECK(refusal("[127.0.0.1]:80") == errc::bad_brackets);
  CHECK(refusal("[]:80") == errc::bad_brackets);
  CHECK(refusal("[:80") == errc::bad_brackets);
  CHECK(refusal("[::1]80:80") == errc::bad_brackets);
  CHECK(refusal("[::1]]:80") == errc::bad_host);
  CHECK(refusal("[::12345]:80") == errc::bad_host);
  CHECK(refusal("[fe80::1%no-such-one]:80") == errc::bad_zone);
  CHECK(refusal("[fe80::1%]:80") == errc::bad_zone);
  CHECK(refusal("[fe80::1%0]:80") == errc::bad_zone);
  CHECK(refusal("[" + std::string(300, ':') + "]:80") == errc::bad_host);
  CHECK(refusal("unix:") == errc::empty_address);
  CHECK(refusal(std::string_view("unix:/run/a\0b", 13)) == errc::bad_path);
  CHECK(refusal("127.0.0.1:80").value() == 0);
}

TEST_CASE("a message names the part and what is right") {
  CHECK(printed("127.0.0.1:x") == "the port is not a number from 0 to 65535");
  CHECK(printed("::1:80") == "an IPv6 address with a port stands in brackets, as in [::1]:80");
}

TEST_CASE("a path has room for all but the last byte of sun_path") {
  const std::string longest(sizeof(sockaddr_un::sun_path) - 1, 'p');
  CHECK(address::unix_path(longest).value().path() == longest);
  const result<address> longer = address::unix_path(longest + "p");
  REQUIRE(!longer);
  CHECK(longer.error() == errc::path_too_long);
  CHECK(longer.error().message() ==
        "the path of the Unix socket is longer than " + std::to_string(longest.size()) + " bytes");
}

TEST_CASE("an abstract name is no path") {
  const result<address> a = address::parse("unix:@kedge");
  if (!a) {
    CHECK(a.error() == errc::no_abstract_names);
    return;
  }
  CHECK(a->path().empty());
  CHECK(a->text() == "unix:@kedge");
  CHECK(*a != parsed("unix:kedge"));
  CHECK(parsed("unix:./@kedge").text() == "unix:./@kedge");
  sockaddr_un file{};
  file.sun_family = AF_UNIX;
  file.sun_path[0] = '@';
  CHECK(address(reinterpret_cast<const sockaddr*>(&file), offsetof(sockaddr_un, sun_path) + 2)
            .text() == "unix:./@");
}

TEST_CASE("what has no name prints as that") {
  CHECK(address().text().empty());
  CHECK(!address());
  sockaddr_un unnamed{};
  unnamed.sun_family = AF_UNIX;
  const address a(reinterpret_cast<const sockaddr*>(&unnamed), offsetof(sockaddr_un, sun_path));
  CHECK(a.text() == "unix:");
  CHECK(a.path().empty());
}

TEST_CASE("addresses of a size that no address has are refused") {
  char bytes[sizeof(sockaddr_storage) + 1] = {};
  CHECK_THROWS_AS(address(reinterpret_cast<sockaddr*>(bytes), sizeof(bytes)),
                  std::invalid_argument);
}

TEST_CASE("an IPv4 address within IPv6 is of the kind of the IPv4 address") {
  for (const char* const within : {"[::ffff:%s]:80", "%s:80"}) {
    const auto with = [within](const char* host) {
      std::array<char, 64> text{};
      std::snprintf(text.data(), text.size(), within, host);
      return parsed(text.data());
    };
    CHECK(with("127.1.2.3").is_loopback());
    CHECK_FALSE(with("128.0.0.1").is_loopback());
    CHECK(with("0.0.0.0").is_wildcard());
    CHECK_FALSE(with("0.0.0.1").is_wildcard());
    CHECK(with("224.0.0.1").is_multicast());
    CHECK(with("239.255.255.255").is_multicast());
    CHECK_FALSE(with("240.0.0.0").is_multicast());
  }
  CHECK(parsed("[::ffff:1.2.3.4]:80") != parsed("1.2.3.4:80"));
  CHECK(parsed("[::1]:80").is_loopback());
  CHECK_FALSE(parsed("[::127.0.0.1]:80").is_loopback());
}

TEST_CASE("addresses compare by family, host, zone and port") {
  CHECK(parsed("1.2.3.4:80") == parsed("1.2.3.4:80"));
  CHECK(parsed("1.2.3.4:80") != parsed("1.2.3.4:81"));
  CHECK(parsed("1.2.3.4:80") < parsed("1.2.3.4:81"));
  CHECK(parsed("1.2.3.4:80") < parsed("1.2.3.5:1"));
  CHECK(parsed("[fe80::1%1]:1") != parsed("[fe80::1]:1"));
  CHECK(parsed("unix:a") < parsed("unix:b"));
  CHECK(parsed("unix:a") != parsed("unix:ab"));
  CHECK(address() == address());
  std::unordered_set<address> seen{parsed("1.2.3.4:80"), parsed("1.2.3.4:80"), parsed("[::1]:80")};
  CHECK(seen.size() == 2);
  CHECK(seen.contains(parsed("[::1]:80")));
}

// What parses prints as something that parses to the same address; nothing else happens to the
// rest.
TEST_CASE("random texts parse to addresses that keep, or to an error with a message") {
  const std::string_view pieces[] = {"127.0.0.1", "[::1]", "[fe80::1%1]",
                                     "unix:",     "@",     ":",
                                     "80",        "65535", "%",
                                     "::",        "1.2",   "/",
                                     "]",         "[",     std::string_view("\0x", 2),
                                     "-1",        "a.b",   "0"};
  std::size_t parsed_texts = 0;
  test::play_seeds(20'000, [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::string text;
    for (std::size_t n = random() % 5; n > 0; --n) text += pieces[random() % std::size(pieces)];
    if (random() % 4 == 0 && !text.empty())
      text[random() % text.size()] = static_cast<char>(random());
    CAPTURE(text);
    const result<address> a = address::parse(text);
    if (!a) {
      CHECK(!a.error().message().empty());
      return;
    }
    ++parsed_texts;
    const result<address> again = address::parse(a->text());
    REQUIRE(again);
    CHECK(*again == *a);
    CHECK(again->hash() == a->hash());
  });
  CHECK(parsed_texts > 10);
}

}  // namespace
}  // namespace kedge::net
