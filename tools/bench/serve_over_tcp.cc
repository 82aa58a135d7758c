#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmark.h"
#include "echo_run.h"
#include "heap_frames.h"
#include "kedge/net/reader.h"
#include "kedge/net/serve.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/tcp_stream.h"

namespace net = kedge::net;

namespace {

// Buffers of 64 KiB. The one that was returned last is taken first, so that a few stay in the
// cache however many connections there are.
class buffer_pool {
 public:
  using buffer = std::array<std::byte, 64 * 1024>;

  std::unique_ptr<buffer> take() {
    if (free_.empty()) return std::make_unique<buffer>();
    std::unique_ptr<buffer> taken = std::move(free_.back());
    free_.pop_back();
    return taken;
  }
  void give_back(std::unique_ptr<buffer> b) { free_.push_back(std::move(b)); }

 private:
  std::vector<std::unique_ptr<buffer>> free_;
};

// What the handlers of one server share.
struct service {
  server_counts counts;
  buffer_pool buffers;
};

// Each connection reads into a buffer of its own.
kedge::task<> echo(service& all, net::tcp_stream s) {
  ++all.counts.accepted;
  std::array<std::byte, 4096> bytes;
  while (const auto got = co_await s.read_some(bytes)) {
    for (std::span<const std::byte> rest(bytes.data(), *got); !rest.empty();) {
      const auto put = co_await s.write_some(rest);
      rest = rest.subspan(put.value());
    }
    all.counts.echoed += *got;
  }
  ++all.counts.ended;
}

// A connection takes a buffer when it can be read, and returns it when it has answered.
kedge::task<> echo_by_pool(service& all, net::tcp_stream s) {
  ++all.counts.accepted;
  while (co_await s.readable()) {
    auto bytes = all.buffers.take();
    const auto got = co_await s.read_some(*bytes);
    if (!got) break;
    for (std::span<const std::byte> rest(bytes->data(), *got); !rest.empty();) {
      const auto put = co_await s.write_some(rest);
      rest = rest.subspan(put.value());
    }
    all.counts.echoed += *got;
    all.buffers.give_back(std::move(bytes));
  }
  ++all.counts.ended;
}

// What a message needs is in a frame of its own, so that a connection that waits holds little.
kedge::task<bool> answer(service& all, net::tcp_stream& s) {
  std::array<std::byte, 4096> bytes;
  const auto got = co_await s.read_some(bytes);
  if (!got) co_return false;
  const auto put = co_await s.write_some(std::span(bytes).first(*got));
  all.counts.echoed += put.value();
  co_return true;
}
kedge::task<> echo_by_task(service& all, net::tcp_stream s) {
  ++all.counts.accepted;
  bool goes_on = true;
  while (goes_on && co_await s.readable()) goes_on = co_await answer(all, s);
  ++all.counts.ended;
}

// Messages are lines.
kedge::task<> echo_by_reader(service& all, net::tcp_stream s) {
  ++all.counts.accepted;
  net::reader in(s);
  while (const auto line = co_await in.read_until("\n", 1000)) {
    for (auto rest = std::as_bytes(std::span<const char>(*line)); !rest.empty();) {
      const auto put = co_await s.write_some(rest);
      rest = rest.subspan(put.value());
    }
    all.counts.echoed += line->size();
  }
  ++all.counts.ended;
}

template <kedge::task<> (*handle)(service& all, net::tcp_stream s)>
class server : public service {
 public:
  server() {
    count_turns(loop_);
    listener_.emplace(loop_, net::address::parse("127.0.0.1:0").value());
    const auto handler = [this](net::tcp_stream s) { return handle(*this, std::move(s)); };
    net::serve_options options;
    options.most_connections = tcp_clients::most + 1;
    loop_.spawn(net::serve(*listener_, handler, options));
  }

  std::uint16_t port() const { return listener_->local_address().port(); }
  void turn() { loop_.run_once(); }

 private:
  std::optional<net::tcp_listener> listener_;  // outlives the loop, whose task borrows it
  kedge::loop loop_;
};

}  // namespace

void echo_by_net(std::uint64_t n) {
  echo_to_clients<server<echo>, 64, 64>(n);
}
void echo_lines_by_net(std::uint64_t n) {
  echo_to_clients<server<echo_by_reader>, 64, 64>(n);
}
template <std::size_t size>
void echo_to_many_by_net(std::uint64_t n) {
  echo_to_clients<server<echo_by_pool>, 1000, size>(n);
}
template void echo_to_many_by_net<64>(std::uint64_t);
template void echo_to_many_by_net<16384>(std::uint64_t);
void accept_by_net(std::uint64_t n) {
  accept_from_clients<server<echo>>(n);
}
void hold_connections(std::uint64_t n) {
  const heap_frames frames;
  server<echo_by_task> s;
  tcp_clients clients(64);
  connect_all(s, clients, n);
}
