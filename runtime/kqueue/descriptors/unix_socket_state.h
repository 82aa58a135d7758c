// What a socket of AF_UNIX does not tell through its descriptor, asked of the kernel by netlink
// (sock_diag(7)). A question costs five system calls or more.
#pragma once

namespace kedge::kqueue {

struct unix_socket_state {
  unsigned backlog = 0;        // of a listener: connections to accept
  bool peer_is_stuck = false;  // the peer has so much under way that poll calls it not writable

  // False: the kernel does not answer (no such support, another network namespace), or `fd` is not
  // such a socket.
  bool ask(int fd) noexcept;
};

}  // namespace kedge::kqueue
