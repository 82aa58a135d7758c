// The steady state of a connection allocates nothing, as counted by the global operator new.
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "kedge/net/connect.h"
#include "kedge/net/reader.h"
#include "kedge/net/serve.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/tcp_stream.h"
#include "kedge/net/write_all.h"
#include "kedge/net/writer.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "run_in.h"
#include "tests/runtime/counted_new.h"

namespace kedge::net {
namespace {

constexpr int warm_up = 200, steady = 1'000;
constexpr std::string_view question =
    "a line of a client that asks for the same line as its answer\n";

task<> echo(tcp_stream s) {
  std::array<std::byte, 4096> room;
  while (const auto n = co_await s.read_some(room)) {
    std::size_t done = 0;
    const auto end = co_await write_all(s, std::span(room).first(*n), done);
    if (!end) break;
  }
}

task<> echo_when_readable(tcp_stream s) {
  while (co_await s.readable()) {
    std::array<std::byte, 4096> room;
    const auto n = co_await s.read_some(room);
    if (!n) break;
    const auto sent = co_await s.write_some(std::span(room).first(*n));
    CHECK(sent.value() == *n);
  }
}

task<> echo_lines(tcp_stream s) {
  reader in(s);
  writer out(s);
  while (const auto line = co_await in.read_until("\n", 1000)) {
    const auto taken = co_await out.write(*line);
    const auto end = co_await out.flush();
    if (!taken || !end) break;
  }
}

// Asks a server of `handler` 1,200 times, and returns how many allocations the server and its
// client have made for the last 1,000.
template <class Handler>
long count(const Handler& handler) {
  loop l;
  long made = -1;
  tcp_listener listener(l, address::parse_host("127.0.0.1", 0).value());
  const auto ask = [&](scope& s) -> task<> {
    s.spawn(serve(listener, handler));
    const address to = listener.local_address();
    auto connected = co_await connect(to);
    tcp_stream client = std::move(connected).value();
    std::array<std::byte, 4096> room;
    long before = 0;
    for (int i = 0; i < warm_up + steady; ++i) {
      if (i == warm_up) before = kedge::allocated;
      const auto sent = co_await client.write_some(std::as_bytes(std::span(question)));
      const auto got = co_await client.read_some(room);
      CHECK(sent.value() == got.value());
    }
    made = kedge::allocated - before;
    listener.close();
  };
  const auto body = [&]() -> task<> { co_await with_scope(ask); };
  run_in(l, body);
  return made;
}

TEST_CASE("a request that is read and answered does not allocate in the steady state") {
  CHECK(count(echo) == 0);
}

TEST_CASE("a request that is read once the stream is readable does not allocate") {
  CHECK(count(echo_when_readable) == 0);
}

TEST_CASE("a line through a reader and a writer does not allocate in the steady state") {
  CHECK(count(echo_lines) == 0);
}

}  // namespace
}  // namespace kedge::net
