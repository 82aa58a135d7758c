#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "benchmark.h"
#include "cpu_time.h"
#include "descriptor_pool.h"
#include "kedge/runtime/descriptor.h"
#include "tcp_clients.h"

namespace {

constexpr std::size_t connections = 64;
using buffer = std::array<std::byte, 4096>;

int accept_from(const loopback_listener& listener) {
  const int fd = ::accept(listener.fd(), nullptr, nullptr);
  if (fd < 0 || ::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) throw_errno("accept");
  return fd;
}

kedge::task<> echo(kedge::loop& loop, int fd, std::uint64_t& done) {
  kedge::descriptor peer(loop, fd, kedge::ownership::owned);
  buffer bytes;
  for (;;) {
    const std::size_t size = (co_await peer.read_some(bytes)).value();
    (co_await peer.write_some(std::span(bytes).first(size))).value();
    ++done;
  }
}

}  // namespace

// Each connection has one message under way. The clients are two plain calls per message.
void echo_over_tcp(std::uint64_t n) {
  kedge::loop loop;
  count_turns(loop);
  const loopback_listener listener;
  tcp_clients clients(64);
  clients.connect(listener.port(), connections);
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < connections; ++i) {
    loop.spawn(echo(loop, accept_from(listener), done));
  }
  for (std::uint64_t asked = 0; asked < n;) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(connections, n - asked));
    clients.ask(count);
    asked += count;
    {
      const measured_section server;
      while (done < asked) loop.run_once();
    }
    clients.take_answers(count);
  }
}
