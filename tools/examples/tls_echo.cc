// tls_echo: gives back what its clients send over TLS: `tls_echo 127.0.0.1:7000 CERT KEY`.
//
//     openssl s_client -quiet -connect 127.0.0.1:7000
//
// CERT and KEY are PEM files. tls_stream.h puts TLS on the streams of kedge/net.
#include <signal.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "tls_stream.h"

namespace net = kedge::net;
using namespace std::chrono_literals;
using context_pointer = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>;
static_assert(net::stream<tls_stream<net::tcp_stream>>);

context_pointer load(const char* certificate, const char* key) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw std::system_error(tls_category::take(), what);
  };
  context_pointer context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  require(context != nullptr, "TLS");
  SSL_CTX* const c = context.get();
  require(SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) == 1, "TLS 1.2");
  require(SSL_CTX_use_certificate_chain_file(c, certificate) == 1, certificate);
  require(SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) == 1, key);
  return context;
}

kedge::task<> echo(SSL_CTX& context, net::tcp_stream client) {
  tls_stream s(std::move(client), context, tls_side::server);
  const auto begun = co_await kedge::with_timeout(10s, s.handshake());
  if (!begun) throw std::system_error(begun.error(), "handshake");
  std::array<std::byte, 4096> room;
  while (const auto n = co_await kedge::with_timeout(60s, s.read_some(room))) {
    const auto bytes = std::span(room).first(*n);
    const auto sent = co_await kedge::with_timeout(60s, net::write_all(s, bytes));
    if (!sent) co_return;
  }
  if (s.shutdown_write()) (void)co_await kedge::with_timeout(1s, s.flush());
}

kedge::task<> run(kedge::loop& loop, const char* where, SSL_CTX& context) {
  net::tcp_listener listener(loop, net::address::parse(where).value());
  std::printf("listens on %s\n", listener.local_address().text().c_str());
  std::fflush(stdout);
  const auto handle = [&](net::tcp_stream client) { return echo(context, std::move(client)); };
  (void)co_await net::serve(listener, handle);
}

int main(int argc, char** argv) try {
  if (argc != 4) return std::fputs("usage: tls_echo ADDRESS CERT KEY\n", stderr), 2;
  const context_pointer context = load(argv[2], argv[3]);
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGTERM, SIGINT}, run(loop, argv[1], *context)));
} catch (const std::exception& e) {
  return std::fprintf(stderr, "tls_echo: %s\n", e.what()), 1;
}
