// listening_socket: what tcp_listener and unix_listener share.
//
// accept() gives the next connection. It goes on where a connection has failed before it was taken
// (ECONNABORTED and the like). If the process or the system has no descriptor left (EMFILE,
// ENFILE), accept() closes a spare one, takes the connection, resets it, and opens the spare one
// again: the peer knows, and nothing spins. Without a spare one, and if the system is short of
// memory, it tries again after 100 ms of the loop's time.
//
// Threads: the loop's thread only. One task may wait in accept(); a second one gets
// errc::already_awaited. Cancelling it loses nothing. An accept() may outlive its listener, and
// gives errc::closed then.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kedge/net/address.h"
#include "kedge/net/owned_fd.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

class listening_socket {
 public:
  // The addresses that it listens on, with what a port 0 became. Unchanged by close(). A listener
  // that never listened has none.
  std::span<const address> addresses() const noexcept;
  // The first of them.
  address local_address() const noexcept;
  // How many connections were reset for want of a descriptor.
  std::size_t shed() const noexcept { return state_ == nullptr ? 0 : state_->shed; }
  explicit operator bool() const noexcept { return state_ != nullptr && !state_->sockets.empty(); }

  // Stops listening: connections that were not accepted are reset, and accept() gives errc::closed.
  void close() noexcept;
  // `co_await listener.until_closed()` waits for close(). Any number of tasks may wait. Gives
  // result<void>: errc::closed if the listener is destroyed first. Requires that it has listened.
  auto until_closed() const { return state_->closed.wait(); }

 protected:
  friend class daemon;  // closes what it has given when the program stops
  struct state {
    ~state() { close(); }
    void close() noexcept;
    void open_spare() noexcept;

    event closed;
    std::vector<descriptor> sockets;
    std::vector<address> addresses;
    std::size_t next = 0;  // whose turn it is to be asked first
    std::size_t shed = 0;
    owned_fd spare;
    // For Unix sockets: the file that close() removes if it is still the same.
    std::string path;  // absolute
    dev_t device = 0;
    ino_t file = 0;
    unsigned generation = 0;  // in a forked child the file is the parent's
  };

  listening_socket() = default;
  explicit listening_socket(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
  listening_socket(listening_socket&&) noexcept = default;
  listening_socket& operator=(listening_socket&& other) noexcept;
  ~listening_socket() { close(); }

  // Makes the state of sockets that listen already, and makes them close-on-exec and non-blocking.
  // Throws std::system_error (EINVAL) if one is not a listening stream socket, of a Unix address if
  // `of_unix` and of an internet address otherwise, the system's error (ENOTSOCK), and
  // std::bad_alloc, having closed them.
  static std::shared_ptr<state> adopted(reactor& r, std::vector<owned_fd> sockets, bool of_unix);

  class accepting;
  static task<result<owned_fd>> take_from_any(state& s, address* peer);
  template <class Stream>
  static task<result<Stream>> accept_from(std::shared_ptr<state> s, address* peer);

  std::shared_ptr<state> state_;
};

}  // namespace kedge::net
