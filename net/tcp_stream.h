// tcp_stream: a TCP connection.
//
//     net::tcp_stream s = (co_await net::connect("kedge.example", 80)).value();
//
// connect.h makes connections, and tcp_listener.h takes them. They send small writes at once
// (TCP_NODELAY): what is to travel together is written together, or through a `writer`.
//
// Threads: the loop's thread only. See stream_socket.h and stream.h.
#pragma once

#include <chrono>
#include <utility>

#include "kedge/net/stream.h"
#include "kedge/net/stream_socket.h"

namespace kedge::net {

// When a connection without traffic is probed, and given up. Whole seconds, at least one.
struct keep_alive_times {
  std::chrono::seconds idle = std::chrono::seconds(60);      // before the first probe
  std::chrono::seconds interval = std::chrono::seconds(10);  // between probes
  int probes = 6;                                            // without an answer
};

class tcp_stream : public stream_socket {
 public:
  // Makes a closed stream.
  tcp_stream() = default;
  // Takes over a connected, non-blocking TCP socket. Throws std::bad_alloc, having closed it.
  tcp_stream(reactor& r, owned_fd socket) : stream_socket(r, std::move(socket), file_kind::tcp) {}

  result<void> set_no_delay(bool on) noexcept;
  // The reads and writes of a connection that was given up end with ETIMEDOUT.
  result<void> set_keep_alive(keep_alive_times times) noexcept;
  result<void> stop_keep_alive() noexcept;
};

static_assert(stream<tcp_stream>);

}  // namespace kedge::net
