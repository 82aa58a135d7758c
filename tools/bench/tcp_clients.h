// tcp_clients: connections to a server of this process, by blocking calls. loopback_listener.
//
// A client costs two system calls per message. It is driven by the thread of the server, so that
// counts do not depend on the scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

class loopback_listener {
 public:
  loopback_listener();
  loopback_listener(const loopback_listener&) = delete;
  loopback_listener& operator=(const loopback_listener&) = delete;
  ~loopback_listener();

  // Blocks, unless the caller has set O_NONBLOCK.
  int fd() const { return fd_; }
  std::uint16_t port() const;

 private:
  int fd_;
};

class tcp_clients {
 public:
  static constexpr std::size_t most = 8192;

  // Messages have `message_size` bytes. The last one is a line feed.
  explicit tcp_clients(std::size_t message_size);
  tcp_clients(const tcp_clients&) = delete;
  tcp_clients& operator=(const tcp_clients&) = delete;
  ~tcp_clients() { close(); }

  // Makes `count` more connections. Requires that the server's backlog has room for them.
  void connect(std::uint16_t port, std::size_t count);
  // Sends a message by each of the first `count` connections.
  void ask(std::size_t count);
  // Reads a message from each of the first `count` connections.
  void take_answers(std::size_t count);
  void close();

 private:
  std::vector<int> fds_;
  std::vector<char> question_;
  std::vector<char> answer_;
};
