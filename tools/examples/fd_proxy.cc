// fd_proxy: takes connections in one process and serves them in another.
//
//     fd_proxy back /tmp/back &  fd_proxy front 127.0.0.1:7000 /tmp/back
//
// The front passes each connection to the back as a descriptor, over a Unix socket, and forgets it.
// So the back can be confined to a folder, or restarted, while the front keeps its port.
#include <array>
#include <cstdio>
#include <functional>
#include <string_view>

#include "kedge/net/connect.h"
#include "kedge/net/serve.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/unix_listener.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace net = kedge::net;

kedge::task<> pass_on(net::tcp_listener& listener, const char* back) {
  net::unix_stream to = (co_await net::connect_unix(net::address::unix_path(back).value())).value();
  const std::array<std::byte, 1> one{};  // descriptors travel beside a byte
  for (;;) {
    const net::tcp_stream client = (co_await listener.accept()).value();
    const std::array<int, 1> fd{client.native_handle()};
    (co_await to.write_some(one, fd)).value();
  }
}

kedge::task<> greet(kedge::loop& loop, net::owned_fd connection) {
  net::tcp_stream client(loop, std::move(connection));
  constexpr std::string_view answer = "greetings from the back\n";
  (void)co_await net::write_all(client, std::as_bytes(std::span(answer)));
}

kedge::task<> take_from(kedge::loop& loop, net::unix_stream front) {
  std::array<std::byte, 1> one;
  net::received_fds fds(1);
  while (co_await front.read_some(one, fds)) {
    if (!fds.empty()) co_await greet(loop, fds.take(0));
    fds.clear();
  }
}

int main(int argc, char** argv) try {
  const std::string_view side = argc > 1 ? argv[1] : "";
  kedge::loop loop;
  if (side == "front" && argc == 4) {
    net::tcp_listener listener(loop, net::address::parse(argv[2]).value());
    std::printf("listens on %s\n", listener.local_address().text().c_str());
    std::fflush(stdout);
    loop.run(pass_on(listener, argv[3]));
  } else if (side == "back" && argc == 3) {
    net::unix_listener listener(loop, net::address::unix_path(argv[2]).value());
    std::puts("ready");
    std::fflush(stdout);
    loop.run(net::serve(listener, std::bind_front(take_from, std::ref(loop))));
  } else {
    return std::fputs("usage: fd_proxy front ADDRESS PATH | fd_proxy back PATH\n", stderr), 2;
  }
} catch (const std::exception& e) {
  return std::fprintf(stderr, "fd_proxy: %s\n", e.what()), 1;
}
