// activation: the sockets that systemd or launchd has opened for this program.
//
//     net::activation given = net::activation::from_environment();
//     net::tcp_listener clients = given.listen_tcp(loop, "clients", address);
//
// A program asks for a socket by name, and says where it listens if it was given none. The name is
// FileDescriptorName= of a .socket unit, the name that `systemd-socket-activate --fdname=` has, or
// a key of Sockets in a launchd property list. Sockets without a name have the name "unknown". All
// sockets of one name serve one purpose: several TCP sockets become one listener.
//
// The sockets become close-on-exec and non-blocking. close() of a listener closes the program's
// copy: the manager keeps the socket, with the clients that were not accepted, and the file of a
// Unix socket.
//
// The variables of systemd's protocol (sd_listen_fds(3)) are taken out of the environment. If they
// are for another process, this program is a child of one that has left them there; that is an
// error too, since to listen somewhere else would hide that the manager's clients wait in vain.
//
// Threads: from_environment() is for main(), before there are threads. One thread uses an object.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kedge/net/address.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/service_environment.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/unix_listener.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::net {

class activation {
 public:
  // No sockets of systemd. Those of launchd are asked for by name.
  activation() = default;
  // Takes the sockets that systemd has handed over. Throws environment_error, having closed them,
  // and std::bad_alloc.
  static activation from_environment();

  // Give a listener on the sockets of this name; without one, a listener on `otherwise` with the
  // options. Throw environment_error if a socket is of another kind, if several Unix sockets have
  // the name, and if there is neither a socket nor an address; and what the listeners throw.
  tcp_listener listen_tcp(reactor& r, std::string_view name, const address& otherwise,
                          tcp_listen_options options = {});
  unix_listener listen_unix(reactor& r, std::string_view name, const address& otherwise,
                            unix_listen_options options = {});
  // Gives the fds of this name, of whatever kind, which stay as they were handed over but for
  // close-on-exec. Throws environment_error if launchd refuses, and std::bad_alloc.
  std::vector<owned_fd> take(std::string_view name);

  // The sockets of systemd that were not asked for, as `"name" (fd 4)`.
  std::vector<std::string> unclaimed() const;

 private:
  struct handed {
    std::string name;
    owned_fd fd;
  };
  std::vector<handed> handed_;
};

}  // namespace kedge::net
