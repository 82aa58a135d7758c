// socks5: a SOCKS5 proxy (RFC 1928): CONNECT by IPv4, IPv6 and name, without authentication.
//
//     socks5 127.0.0.1:1080 &  curl --socks5-hostname 127.0.0.1:1080 https://kedge.example/
//
// Each connection has a scope with two children, which copy the two directions. A failure of one
// ends the other, and is a line on standard error. What a connection holds is bounded: two buffers.
// On SIGTERM it takes no more clients, and ends those that are left after ten seconds.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "kedge/net/net.h"
#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;
namespace net = kedge::net;

constexpr const char* usage =
    "usage: socks5 [-t SECONDS] [-n CONNECTIONS] [ADDRESS]\n"
    "A SOCKS5 proxy at ADDRESS (127.0.0.1:1080), or at the activated socket \"socks5\".\n"
    "  -t SECONDS      for a client to say what it wants, for a server to answer a connection, "
    "and\n"
    "                  for either to read what was sent (60)\n"
    "  -n CONNECTIONS  the most at a time; others wait (1000)\n";

struct options {
  unsigned patience = 60;  // seconds
  unsigned most = 1000;
  std::string where = "127.0.0.1:1080";
};

// RFC 1928, 6: the replies.
enum class reply : unsigned char {
  succeeded = 0,
  failed = 1,
  network_unreachable = 3,
  host_unreachable = 4,
  refused = 5,
  no_such_command = 7,
  no_such_address_type = 8,
};

reply reply_for(const std::error_code& why) {
  if (why == std::errc::network_unreachable) return reply::network_unreachable;
  if (why == std::errc::connection_refused) return reply::refused;
  const bool is_unknown = why.category() == net::resolve_category();
  const bool is_silent = why == std::errc::host_unreachable || why == std::errc::timed_out;
  return is_unknown || is_silent ? reply::host_unreachable : reply::failed;
}

kedge::task<> send_reply(net::tcp_stream& client, reply r, const net::address& bound) {
  std::array<unsigned char, 22> out{5, static_cast<unsigned char>(r), 0, 1};
  std::size_t size = 10;  // with an IPv4 address, of zeros
  if (bound.family() == AF_INET) {
    const auto* const in = reinterpret_cast<const sockaddr_in*>(bound.data());
    std::memcpy(&out[4], &in->sin_addr, 4);
    std::memcpy(&out[8], &in->sin_port, 2);
  } else if (bound.family() == AF_INET6) {
    const auto* const in = reinterpret_cast<const sockaddr_in6*>(bound.data());
    out[3] = 4;
    std::memcpy(&out[4], &in->sin6_addr, 16);
    std::memcpy(&out[20], &in->sin6_port, 2);
    size = out.size();
  }
  (co_await net::write_all(client, std::as_bytes(std::span(out).first(size)))).value();
}

using stream_reader = net::reader<net::tcp_stream&>;

kedge::task<std::string> take(stream_reader& in, std::size_t n) {
  const auto bytes = (co_await in.peek(n)).value();
  std::string taken(reinterpret_cast<const char*>(bytes.data()), n);
  in.consume(n);
  co_return taken;
}

kedge::task<> refuse(net::tcp_stream& client, reply r, const char* why) {
  co_await send_reply(client, r, net::address());
  throw std::runtime_error(why);
}

struct target {
  std::string host;
  std::uint16_t port = 0;
};

// Agrees on no authentication, and reads where the client wants to. A version, a number of methods
// and the methods; then a version, a command, a zero, a type, an address and a port.
kedge::task<> greet(net::tcp_stream& client, stream_reader& in, target& to) {
  const std::string hello = co_await take(in, 2);
  if (hello[0] != 5) throw std::runtime_error("the client does not speak SOCKS5");
  const std::string methods = co_await take(in, static_cast<unsigned char>(hello[1]));
  const bool fits = methods.find('\0') != std::string::npos;
  const std::array<unsigned char, 2> chosen{5, static_cast<unsigned char>(fits ? 0 : 0xff)};
  (co_await net::write_all(client, std::as_bytes(std::span(chosen)))).value();
  if (!fits) throw std::runtime_error("the client wants to authenticate itself");
  const std::string head = co_await take(in, 4);
  if (head[0] != 5) throw std::runtime_error("the request is not one of SOCKS5");
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (head[3] == 1) {
    const std::string raw = co_await take(in, 4);
    to.host = ::inet_ntop(AF_INET, raw.data(), text.data(), text.size());
  } else if (head[3] == 4) {
    const std::string raw = co_await take(in, 16);
    to.host = ::inet_ntop(AF_INET6, raw.data(), text.data(), text.size());
  } else if (head[3] == 3) {
    const std::string size = co_await take(in, 1);
    to.host = co_await take(in, static_cast<unsigned char>(size[0]));
  } else {
    co_await refuse(client, reply::no_such_address_type, "the type of the address is unknown");
  }
  const std::string port = co_await take(in, 2);
  to.port = static_cast<std::uint16_t>(static_cast<unsigned char>(port[0]) << 8 |
                                       static_cast<unsigned char>(port[1]));
  if (head[1] != 1) co_await refuse(client, reply::no_such_command, "the command is not CONNECT");
}

// Copies to the end of `from`, which it passes on.
kedge::task<> copy_all(stream_reader& from, net::tcp_stream& to, std::chrono::seconds patience) {
  std::array<std::byte, 16 * 1024> room;
  for (;;) {
    const auto n = co_await from.read_some(room);
    if (!n && n.error() == kedge::errc::end_of_file) break;
    const auto bytes = std::span(room).first(n.value());
    (co_await kedge::with_timeout(patience, net::write_all(to, bytes))).value();
  }
  (void)to.shutdown_write();
}

kedge::task<> proxy(const options& o, net::tcp_stream client) {
  const std::chrono::seconds patience(o.patience);
  (void)client.set_keep_alive({});
  stream_reader in(client);
  target to;
  (co_await kedge::with_timeout(patience, greet(client, in, to))).value();
  auto connected = co_await net::connect(to.host, to.port, {.timeout = patience});
  if (!connected) {
    const net::connect_error& why = connected.error();
    co_await refuse(client, reply_for(why.code()), why.text().c_str());
  }
  net::tcp_stream server = std::move(*connected);
  (void)server.set_keep_alive({});
  const net::address bound = server.local_address().value();
  co_await send_reply(client, reply::succeeded, bound);
  stream_reader answers(server);
  const auto both = [&](kedge::scope& s) -> kedge::task<> {
    s.spawn([&] { return copy_all(in, server, patience); });
    s.spawn([&] { return copy_all(answers, client, patience); });
    co_return;
  };
  co_await kedge::with_scope(both);
}

kedge::task<> keep(net::daemon& d, const options& o) {
  net::tcp_listener clients = d.listen_tcp("socks5", net::address::parse(o.where).value());
  std::printf("listens on %s\n", clients.local_address().text().c_str());
  std::fflush(stdout);
  std::size_t shed = 0;
  const auto serve = [&](net::tcp_stream client) {
    if (const std::size_t before = std::exchange(shed, clients.shed()); before != shed) {
      std::fprintf(stderr, "socks5: out of descriptors: reset %zu clients\n", shed - before);
    }
    return proxy(o, std::move(client));
  };
  const net::serve_options limits{.most_connections = o.most};
  co_await d.run(net::serve(clients, serve, limits));
}

bool parse(int argc, char** argv, options& o) {
  const auto number = [](const char* text, unsigned& n) {
    const char* const end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, n);
    if (error == std::errc() && stop == end && n != 0) return true;
    return std::fprintf(stderr, "socks5: \"%s\" is not a number from 1 on\n", text), false;
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if ((word == "-t" || word == "-n") && i + 1 < argc) {
      if (!number(argv[++i], word == "-t" ? o.patience : o.most)) return false;
    } else if (word.starts_with('-')) {
      return std::fprintf(stderr, "socks5: bad option %s; see socks5 --help\n", argv[i]), false;
    } else {
      o.where = word;
    }
  }
  const auto at = net::address::parse(o.where);
  if (at) return true;
  return std::fprintf(stderr, "socks5: %s: %s\n", o.where.c_str(), at.error().message().c_str()),
         false;
}

int main(int argc, char** argv) {
  options o;
  if (argc == 2 && argv[1] == std::string_view("--help")) return std::fputs(usage, stdout), 0;
  if (!parse(argc, argv, o)) return 2;
  kedge::loop loop;
  return net::run_daemon(loop, "socks5", [&](net::daemon& d) { return keep(d, o); });
}
