// unix_listener: takes connections of Unix sockets.
//
//     net::unix_listener listener(loop, net::address::parse("unix:/run/x.sock").value());
//
// A socket file on which no process listens, as a program leaves it that was killed, is replaced.
// So is that of a program between its bind() and its listen(). On Darwin, where a full backlog
// looks like no listener, the constructor tries for 100 ms before it replaces a file. close()
// removes the file, if it is still the listener's own; a forked child leaves it. See
// listening_socket.h.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include "kedge/net/address.h"
#include "kedge/net/listening_socket.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/unix_stream.h"

namespace kedge::net {

struct unix_listen_options {
  int backlog = SOMAXCONN;  // connections that wait to be accepted; the system bounds it
  mode_t mode = 0;          // who may connect, as chmod(2) has it; 0: what the umask leaves
};

class unix_listener : public listening_socket {
 public:
  using stream_type = unix_stream;

  // Makes a closed listener.
  unix_listener() = default;
  // Listens at once. Throws std::system_error whose message names the path and, where it is in use,
  // the process that listens, if the system tells; net::errc::not_a_unix_address; std::bad_alloc.
  unix_listener(reactor& r, const address& at, unix_listen_options options = {});

  // Takes over a listening Unix socket, as a service manager opens it (activation.h). Its file
  // stays when the listener is closed. Throws std::system_error (EINVAL) if it is another file, the
  // system's error, and std::bad_alloc, having closed it.
  static unix_listener adopt(reactor& r, owned_fd socket);

  // Gives the next connection. The second form sets `peer`, which must live until the wait ends, to
  // the client's name, which most clients do not have.
  task<result<unix_stream>> accept() const { return accept_from<unix_stream>(state_, nullptr); }
  task<result<unix_stream>> accept(address& peer) const {
    return accept_from<unix_stream>(state_, &peer);
  }

 private:
  using listening_socket::listening_socket;
};

}  // namespace kedge::net
