// tls_stream<S>: TLS over any stream, by OpenSSL. Is a `stream` itself (kedge/net/stream.h).
//
//     tls_stream s(std::move(connection), context, tls_side::server);
//     (co_await s.handshake()).value();
//     (co_await kedge::net::write_all(s, bytes)).value();
//
// The SSL_CTX says what is trusted and which versions are spoken. OpenSSL works on two BIOs in
// memory, and the stream below moves the bytes between them and the peer. handshake() comes first.
//
// A read gives kedge::errc::end_of_file where the peer has ended the session, and
// net::errc::cut_short where the stream below ends before: an attacker can cut a connection. The
// end of shutdown_write() is sent by the next read, write or flush().
//
// Cancelling a read loses nothing. A write that is cancelled may have encrypted some of its bytes,
// which cannot be taken back. The next one must be of the same bytes and goes on with them, as
// write_all(s, bytes, done) does.
//
// Threads: the loop's thread only. Throws std::bad_alloc.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>

#include "kedge/net/byte_buffer.h"
#include "kedge/net/net.h"
#include "kedge/net/wait_mark.h"
#include "kedge/runtime/runtime.h"

enum class tls_side : bool { server, client };

// The errors of OpenSSL's queue.
class tls_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "openssl"; }
  std::string message(int code) const override {
    std::array<char, 256> text;
    ERR_error_string_n(static_cast<unsigned>(code), text.data(), text.size());
    return text.data();
  }
  static std::error_code take() {
    static const tls_category category;
    return {static_cast<int>(ERR_get_error()), category};
  }
};

template <kedge::net::stream S>
class tls_stream {
  using transfer = kedge::task<kedge::result<std::size_t>>;
  using done = kedge::result<void>;

  // Shared with the waits, which may outlive the stream.
  struct state {
    state(S&& s, SSL_CTX& context, tls_side side)
        : below(std::move(s)),
          ssl(SSL_new(&context), &SSL_free),
          from_peer(BIO_new(BIO_s_mem())),
          to_peer(BIO_new(BIO_s_mem())) {
      if (ssl == nullptr || from_peer == nullptr || to_peer == nullptr) throw std::bad_alloc();
      SSL_set_bio(ssl.get(), from_peer, to_peer);           // takes both
      SSL_set_options(ssl.get(), SSL_OP_NO_RENEGOTIATION);  // no write has to read
      side == tls_side::server ? SSL_set_accept_state(ssl.get()) : SSL_set_connect_state(ssl.get());
    }
    S below;
    std::unique_ptr<SSL, void (*)(SSL*)> ssl;
    BIO *const from_peer, *const to_peer;
    std::array<std::byte, 4096> received;
    kedge::net::byte_buffer unsent;  // out of to_peer
    kedge::mutex sending;
    bool is_sending = false, is_writing = false, is_closed = false;
    std::size_t taken = 0;  // of a write that was cancelled
  };
  using pointer = std::shared_ptr<state>;

 public:
  tls_stream(S s, SSL_CTX& context, tls_side side)
      : state_(std::make_shared<state>(std::move(s), context, side)) {}
  tls_stream(tls_stream&&) noexcept = default;
  ~tls_stream() {
    if (state_ != nullptr) close();
  }

  // A peer that fails has been told why, where TLS has an alert for it.
  kedge::task<done> handshake() { return shake_hands(state_); }
  transfer read_some(std::span<std::byte> room) { return read(state_, room); }
  transfer write_some(std::span<const std::byte> from) { return write(state_, from); }
  kedge::task<done> flush() { return send(state_); }
  done shutdown_write() {
    if (state_->is_closed) return kedge::unexpected(kedge::errc::closed);
    ERR_clear_error();
    if (SSL_shutdown(state_->ssl.get()) < 0) return kedge::unexpected(tls_category::take());
    return {};
  }
  void close() noexcept {
    state_->is_closed = true;
    state_->below.close();
  }

 private:
  // Sends all that OpenSSL has for the peer. Several tasks take turns.
  static kedge::task<done> send(pointer s) {
    auto turn = co_await s->sending.lock();
    const kedge::net::wait_mark mark(s->is_sending);
    for (;;) {
      if (s->unsent.empty()) {
        const auto room = s->unsent.room(17408, 17408);  // a record
        const int size = BIO_read(s->to_peer, room.data(), static_cast<int>(room.size()));
        if (size > 0) s->unsent.commit(static_cast<std::size_t>(size));
      }
      if (s->unsent.empty()) co_return done();
      const auto n = co_await s->below.write_some(s->unsent.bytes());
      if (!n) co_return n.failure();
      s->unsent.consume(*n);
    }
  }

  // Waits for bytes of the peer, after it has sent what there is. Does not wait for another task
  // that sends: the peer may read only when its own bytes are read.
  static kedge::task<done> receive(pointer s) {
    if (!s->is_sending) {
      const auto sent = co_await send(s);
      if (!sent) co_return sent.failure();
    }
    const std::span<std::byte> room(s->received);
    const auto n = co_await s->below.read_some(room);
    const bool is_cut = !n && n.error() == kedge::errc::end_of_file;
    if (is_cut) co_return kedge::unexpected(kedge::net::errc::cut_short);
    if (!n) co_return n.failure();
    if (BIO_write(s->from_peer, room.data(), static_cast<int>(*n)) <= 0) throw std::bad_alloc();
    co_return done();
  }

  static kedge::task<done> shake_hands(pointer s) {
    for (;;) {
      ERR_clear_error();
      const int end = SSL_do_handshake(s->ssl.get());
      const bool goes_on = end == 1 || SSL_get_error(s->ssl.get(), end) == SSL_ERROR_WANT_READ;
      const std::error_code failure = goes_on ? std::error_code() : tls_category::take();
      const auto sent = co_await send(s);
      if (failure) co_return kedge::unexpected(failure);
      if (!sent) co_return sent.failure();
      if (end == 1) co_return done();
      const auto more = co_await receive(s);
      if (!more) co_return more.failure();
    }
  }

  static transfer read(pointer s, std::span<std::byte> room) {
    for (;;) {
      if (s->is_closed) co_return kedge::unexpected(kedge::errc::closed);
      if (room.empty()) co_return std::size_t{0};
      ERR_clear_error();
      std::size_t n = 0;
      const int end = SSL_read_ex(s->ssl.get(), room.data(), room.size(), &n);
      if (end == 1) co_return n;
      const int why = SSL_get_error(s->ssl.get(), end);
      if (why == SSL_ERROR_ZERO_RETURN) co_return kedge::unexpected(kedge::errc::end_of_file);
      if (why != SSL_ERROR_WANT_READ) co_return kedge::unexpected(tls_category::take());
      const auto more = co_await receive(s);
      if (!more) co_return more.failure();
    }
  }

  static transfer write(pointer s, std::span<const std::byte> from) {
    if (s->is_closed) co_return kedge::unexpected(kedge::errc::closed);
    if (s->is_writing) co_return kedge::unexpected(kedge::errc::already_awaited);
    if (from.empty()) co_return std::size_t{0};
    const kedge::net::wait_mark mark(s->is_writing);
    auto sent = co_await send(s);
    if (!sent) co_return sent.failure();
    if (s->taken == 0) {
      ERR_clear_error();
      const std::size_t size = std::min<std::size_t>(from.size(), 16384);  // one record
      if (SSL_write_ex(s->ssl.get(), from.data(), size, &s->taken) != 1) {
        co_return kedge::unexpected(tls_category::take());
      }
      sent = co_await send(s);
      if (!sent) co_return sent.failure();
    }
    co_return std::exchange(s->taken, 0);
  }

  pointer state_;
};
