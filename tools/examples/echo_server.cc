// echo_server: gives back what its clients send: `echo_server 127.0.0.1:7000`.
//
// Serves at most 100 clients at a time. On SIGTERM and SIGINT it takes no more, leaves those that
// it has 10 seconds to hang up, and tells how many were cut off and where they waited.
#include <signal.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <span>

#include "kedge/net/serve.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"

namespace net = kedge::net;

kedge::task<> echo(net::tcp_stream client) {
  std::array<std::byte, 4096> room;
  while (const auto n = co_await client.read_some(room)) {
    (co_await net::write_all(client, std::span(room).first(*n))).value();
  }
}

kedge::task<> close_on(kedge::signal_set& stop, net::tcp_listener& listener) {
  (void)co_await stop.next();
  listener.close();
}

kedge::task<> run(kedge::loop& loop, const char* where) {
  kedge::signal_set stop(loop, {SIGTERM, SIGINT});
  net::tcp_listener listener(loop, net::address::parse(where).value());
  std::printf("listens on %s\n", listener.local_address().text().c_str());
  std::fflush(stdout);
  const net::serve_options limits{.most_connections = 100, .grace = std::chrono::seconds(10)};
  const auto [all, stopped] =
      co_await kedge::when_all(net::serve(listener, echo, limits), close_on(stop, listener));
  std::printf("served %zu, cut off %zu\n%s", all.served, all.stuck, all.where.c_str());
}

int main(int argc, char** argv) try {
  if (argc != 2) return std::fputs("usage: echo_server ADDRESS\n", stderr), 2;
  kedge::loop loop;
  loop.run(run(loop, argv[1]));
} catch (const std::exception& e) {
  return std::fprintf(stderr, "echo_server: %s\n", e.what()), 1;
}
