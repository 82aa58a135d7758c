#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <system_error>

#include "benchmark.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/when_all.h"

namespace {

using payload = std::array<std::byte, 64>;
// Larger than the payload, as in real programs: a read that does not fill it has drained the
// socket.
using buffer = std::array<std::byte, 4096>;

kedge::task<> ask(kedge::descriptor& peer, std::uint64_t n) {
  const payload question{};
  buffer answer;
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await peer.write_some(question)).value();
    (co_await peer.read_some(answer)).value();
  }
}
kedge::task<> echo(kedge::descriptor& peer, std::uint64_t n) {
  buffer bytes;
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::size_t size = (co_await peer.read_some(bytes)).value();
    (co_await peer.write_some(std::span(bytes).first(size))).value();
  }
}

}  // namespace

kedge::task<> make_round_trips(kedge::loop& loop, std::uint64_t n) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  for (const int fd : ends) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  kedge::descriptor a(loop, ends[0], kedge::ownership::owned);
  kedge::descriptor b(loop, ends[1], kedge::ownership::owned);
  co_await kedge::when_all(ask(a, n), echo(b, n));
}
