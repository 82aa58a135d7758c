// unix_datagram_socket: datagrams within one machine. None is lost: a sender waits for room in the
// receiver's queue.
//
//     net::unix_datagram_socket log(loop, net::address::parse("unix:/run/log.sock").value());
//
// packet_pair(), connect_packets() and adopt() are for SOCK_SEQPACKET: connected, with an end,
// which receive() gives as errc::end_of_file once the peer has closed. The system gives an empty
// packet like the end. So an empty packet is taken for the end, and lost, if nothing but the end or
// further empty packets is queued behind it. All other empty packets arrive. Darwin has no
// SOCK_SEQPACKET.
//
// See datagram_socket.h for receive(), connect() and the errors. A socket that was bound to a path
// leaves its file behind: the program removes it, before it binds or when it ends. A sender without
// a name has no address to be answered at. Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "kedge/net/address.h"
#include "kedge/net/datagram_socket.h"
#include "kedge/net/owned_fd.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

class unix_datagram_socket : public datagram_socket {
 public:
  // Makes a closed socket.
  unix_datagram_socket() = default;
  // Makes a socket without a name. Throws std::system_error and std::bad_alloc.
  explicit unix_datagram_socket(reactor& r);
  // Binds to `at`. Throws std::system_error whose message names the address: EADDRINUSE if there is
  // a file; net::errc::not_a_unix_address; std::bad_alloc.
  unix_datagram_socket(reactor& r, const address& at);

  // Waits while the receiver's queue is full, and sends the datagram to the peer of connect().
  // Gives EMSGSIZE if it is too large for one, ECONNREFUSED if the receiver is closed, and ENOTCONN
  // or EDESTADDRREQ without a peer. Making the task throws std::bad_alloc.
  task<result<void>> send(std::span<const std::byte> bytes) {
    return send_patiently(file_, bytes, nullptr);
  }
  // Likewise, to `to`. No system reports that the queue of a receiver has room again to a socket
  // that is not connected to it, and Darwin does not to a connected one either: the task tries
  // again after 1 ms, then 2, 4 ... and every 64 ms. close() ends such a wait as late.
  task<result<void>> send_to(std::span<const std::byte> bytes, const address& to) {
    return send_patiently(file_, bytes, &to);
  }

  // Two sockets that are connected to each other, of datagrams or of packets. Throw
  // std::system_error (EPROTONOSUPPORT where there are no packets) and std::bad_alloc.
  static std::pair<unix_datagram_socket, unix_datagram_socket> pair(reactor& r);
  static std::pair<unix_datagram_socket, unix_datagram_socket> packet_pair(reactor& r);

  // Connects a socket of packets to one that listens at `to`. Does not wait: gives EAGAIN if too
  // many connections there wait to be accepted, and otherwise the system's error. Throws
  // std::bad_alloc.
  static result<unix_datagram_socket> connect_packets(reactor& r, const address& to);

  // Takes over a Unix socket of datagrams or packets from elsewhere: accept(2), a parent process.
  // Makes it non-blocking. Throws std::system_error (EINVAL) if it is another socket, the system's
  // error, and std::bad_alloc, having closed it.
  static unix_datagram_socket adopt(reactor& r, owned_fd socket);

 private:
  unix_datagram_socket(reactor& r, owned_fd socket, datagram_kind k)
      : datagram_socket(r, std::move(socket), k) {}
  static task<result<void>> send_patiently(std::shared_ptr<descriptor> file,
                                           std::span<const std::byte> bytes, const address* to);
  static std::pair<unix_datagram_socket, unix_datagram_socket> make_pair(reactor& r, int type,
                                                                         datagram_kind k);
};

}  // namespace kedge::net
