// tls_stream of tools/examples over streams in memory, which cut, delay and cancel as they like.
#include "tools/examples/tls_stream.h"

#include <doctest/doctest.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>

#include "kedge/net/net.h"
#include "kedge/runtime/runtime.h"

namespace {

namespace net = kedge::net;
using namespace std::chrono_literals;
using tls = tls_stream<net::memory_stream>;

static_assert(net::stream<tls>);

// A server with a certificate of its own, and a client that trusts it, or nobody.
struct contexts {
  explicit contexts(bool is_trusted = true) {
    const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
    const std::unique_ptr<X509, void (*)(X509*)> certificate(X509_new(), &X509_free);
    X509* const c = certificate.get();
    ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 3600);
    X509_set_pubkey(c, key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    X509_set_issuer_name(c, X509_get_subject_name(c));
    REQUIRE(X509_sign(c, key.get(), EVP_sha256()) > 0);
    REQUIRE(SSL_CTX_use_certificate(server.get(), c) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey(server.get(), key.get()) == 1);
    SSL_CTX_set_verify(client.get(), SSL_VERIFY_PEER, nullptr);
    if (is_trusted) REQUIRE(X509_STORE_add_cert(SSL_CTX_get_cert_store(client.get()), c) == 1);
  }

  using pointer = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>;
  pointer server{SSL_CTX_new(TLS_server_method()), &SSL_CTX_free};
  pointer client{SSL_CTX_new(TLS_client_method()), &SSL_CTX_free};
};

struct pair {
  pair(kedge::loop& l, const contexts& c, const net::memory_options& o)
      : pair(net::memory_pipe(l, o), c) {}
  pair(net::memory_pipe p, const contexts& c)
      : server(std::move(p.a), *c.server, tls_side::server),
        client(std::move(p.b), *c.client, tls_side::client) {}

  tls server;
  tls client;
};

std::string text_of(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * i % 251);
  return text;
}

// Writes the text by waits that are cancelled after 2 ms, and ends.
kedge::task<> write_impatiently(tls& s, const std::string& text) {
  std::size_t done = 0;
  for (int tries = 0; done < text.size(); ++tries) {
    REQUIRE(tries < 10'000);  // each takes some bytes on
    const auto rest = std::as_bytes(std::span(text));
    const auto end = co_await kedge::with_timeout(2ms, net::write_all(s, rest, done));
    if (!end) REQUIRE(end.error() == kedge::errc::timed_out);
  }
  REQUIRE(s.shutdown_write());
  REQUIRE(co_await s.flush());
}

// Reads to the end in the same way.
kedge::task<std::string> read_impatiently(tls& s) {
  std::string text;
  std::array<std::byte, 777> room;
  for (;;) {
    const auto n = co_await kedge::with_timeout(2ms, s.read_some(room));
    if (n) text.append(reinterpret_cast<const char*>(room.data()), *n);
    if (!n && n.error() == kedge::errc::end_of_file) co_return text;
    if (!n) REQUIRE(n.error() == kedge::errc::timed_out);
  }
}

kedge::task<> shake_hands(tls& s) {
  REQUIRE(co_await s.handshake());
}

TEST_CASE("bytes come through both ways at once, in pieces, though all waits are cancelled") {
  const contexts c;
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    kedge::virtual_time world;
    kedge::loop loop(world);
    pair p(loop, c, {.capacity = 700, .delay = 1ms, .fragment = 500, .seed = seed});
    const std::string up = text_of(50'000);
    const std::string down = text_of(70'001);
    const auto body = [&]() -> kedge::task<> {
      co_await kedge::when_all(shake_hands(p.server), shake_hands(p.client));
      const auto [sent, asked, received, answered] =
          co_await kedge::when_all(write_impatiently(p.client, up), read_impatiently(p.server),
                                   write_impatiently(p.server, down), read_impatiently(p.client));
      CHECK((asked == up));
      CHECK((answered == down));
    };
    loop.run(body());
  }
}

TEST_CASE("a connection that is cut has not ended") {
  const contexts c;
  kedge::loop loop;
  const auto body = [&]() -> kedge::task<> {
    pair p(loop, c, {});
    co_await kedge::when_all(shake_hands(p.server), shake_hands(p.client));
    const std::string text = text_of(1000);
    REQUIRE(co_await net::write_all(p.server, std::as_bytes(std::span(text))));
    p.server.close();
    std::array<std::byte, 2000> room;
    CHECK((co_await p.client.read_some(room)).value() == 1000);
    CHECK((co_await p.client.read_some(room)).error() == net::errc::cut_short);
    CHECK((co_await p.server.read_some(room)).error() == kedge::errc::closed);
    CHECK((co_await p.server.write_some(room)).error() == kedge::errc::closed);
    CHECK(p.server.shutdown_write().error() == kedge::errc::closed);
  };
  loop.run(body());
}

TEST_CASE("both sides know that a certificate is not trusted") {
  const contexts c(false);
  kedge::loop loop;
  const auto body = [&]() -> kedge::task<> {
    pair p(loop, c, {});
    const auto [server, client] =
        co_await kedge::when_all(p.server.handshake(), p.client.handshake());
    REQUIRE((!server && !client));
    CHECK(client.error().message().find("certificate verify failed") != std::string::npos);
    CHECK(server.error().message().find("alert unknown ca") != std::string::npos);
  };
  loop.run(body());
}

TEST_CASE("close() ends a wait, and a second writer is refused") {
  const contexts c;
  kedge::loop loop;
  const auto body = [&]() -> kedge::task<> {
    pair p(loop, c, {.capacity = 5000});
    co_await kedge::when_all(shake_hands(p.server), shake_hands(p.client));
    const std::string text = text_of(100'000);
    const auto bytes = std::as_bytes(std::span(text));
    std::array<std::byte, 10> room;
    const auto refuse = [&]() -> kedge::task<> {
      CHECK((co_await p.client.write_some(bytes)).error() == kedge::errc::already_awaited);
      p.client.close();
    };
    const auto [written, n, refused] = co_await kedge::when_all(net::write_all(p.client, bytes),
                                                                p.client.read_some(room), refuse());
    CHECK(written.error() == kedge::errc::closed);
    CHECK(n.error() == kedge::errc::closed);
  };
  loop.run(body());
}

}  // namespace
