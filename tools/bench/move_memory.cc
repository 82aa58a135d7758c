// A piece of memory from one end to the other on one loop: moved in a message, and copied through a
// pipe, a socket pair and a queue. The receiving end reads a byte of every page.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "benchmark.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/when_all.h"

namespace mach = kedge::mach;

namespace {

using buffer = std::vector<std::byte>;

constexpr mach_msg_id_t memory_id = 1;

void read_pages(std::span<const std::byte> bytes) {
  const volatile std::byte* const at = bytes.data();
  for (std::size_t page = 0; page < bytes.size(); page += 4096) static_cast<void>(at[page]);
}

kedge::task<> write_pieces(kedge::descriptor& to, std::size_t size, std::uint64_t n) {
  const buffer piece(size, std::byte{1});
  for (std::uint64_t i = 0; i < n; ++i) {
    for (std::span<const std::byte> left = piece; !left.empty();) {
      left = left.subspan((co_await to.write_some(left)).value());
    }
  }
}

kedge::task<> read_pieces(kedge::descriptor& from, std::size_t size, std::uint64_t n) {
  buffer piece(size);
  for (std::uint64_t i = 0; i < n; ++i) {
    for (std::span<std::byte> left = piece; !left.empty();) {
      left = left.subspan((co_await from.read_some(left)).value());
    }
    read_pages(piece);
  }
}

kedge::task<> stream_pieces(kedge::loop& loop, int (&ends)[2], std::size_t size, std::uint64_t n) {
  for (const int fd : ends) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  kedge::descriptor from(loop, ends[0], kedge::ownership::owned);
  kedge::descriptor to(loop, ends[1], kedge::ownership::owned);
  co_await kedge::when_all(read_pieces(from, size, n), write_pieces(to, size, n));
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// Two slots go back and forth, so that the queue allocates nothing.
struct copying_queue {
  kedge::channel<buffer> full{2}, empty{2};
};

kedge::task<> copy_in(copying_queue& queue, std::size_t size, std::uint64_t n) {
  const buffer piece(size, std::byte{1});
  for (std::uint64_t i = 0; i < n; ++i) {
    auto slot = co_await queue.empty.receive();
    std::memcpy(slot->data(), piece.data(), size);
    static_cast<void>(co_await queue.full.send(std::move(*slot)));
  }
}

kedge::task<> copy_out(copying_queue& queue, std::size_t size, std::uint64_t n) {
  buffer piece(size);
  for (std::uint64_t i = 0; i < n; ++i) {
    auto slot = co_await queue.full.receive();
    std::memcpy(piece.data(), slot->data(), size);
    read_pages(piece);
    static_cast<void>(co_await queue.empty.send(std::move(*slot)));
  }
}

}  // namespace

kedge::task<> move_memory(kedge::loop&, std::size_t size, std::uint64_t n) {
  const auto port = mach::receive_right::make();
  const mach::send_right to = port.make_send();
  auto region = mach::memory_region::make(size);
  std::ranges::fill(region.bytes(), std::byte{1});
  for (std::uint64_t i = 0; i < n; ++i) {
    mach::message m(memory_id, std::move(region));
    (co_await mach::send(to, std::move(m))).value();
    mach::received arrived = (co_await port.receive()).value();
    region = arrived.take_memory(0);
    read_pages(region.bytes());
  }
}

kedge::task<> write_to_pipe(kedge::loop& loop, std::size_t size, std::uint64_t n) {
  int ends[2];
  if (::pipe(ends) != 0) fail("pipe");
  co_await stream_pieces(loop, ends, size, n);
}

kedge::task<> write_to_socket(kedge::loop& loop, std::size_t size, std::uint64_t n) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) fail("socketpair");
  co_await stream_pieces(loop, ends, size, n);
}

kedge::task<> copy_to_queue(kedge::loop&, std::size_t size, std::uint64_t n) {
  copying_queue queue;
  for (int i = 0; i < 2; ++i) static_cast<void>(co_await queue.empty.send(buffer(size)));
  co_await kedge::when_all(copy_out(queue, size, n), copy_in(queue, size, n));
}
