// tcp_stream: the options of TCP.
#include "kedge/net/tcp_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "kedge/net/host.h"

namespace kedge::net {

result<void> tcp_stream::set_no_delay(bool on) noexcept {
  return set_option(IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

result<void> tcp_stream::set_keep_alive(keep_alive_times times) noexcept {
  const auto idle = static_cast<int>(times.idle.count());
  const auto interval = static_cast<int>(times.interval.count());
  if (auto r = set_option(IPPROTO_TCP, host::keep_alive_idle, idle); !r) return r;
  if (auto r = set_option(IPPROTO_TCP, TCP_KEEPINTVL, interval); !r) return r;
  if (auto r = set_option(IPPROTO_TCP, TCP_KEEPCNT, times.probes); !r) return r;
  return set_option(SOL_SOCKET, SO_KEEPALIVE, 1);
}

result<void> tcp_stream::stop_keep_alive() noexcept {
  return set_option(SOL_SOCKET, SO_KEEPALIVE, 0);
}

}  // namespace kedge::net
