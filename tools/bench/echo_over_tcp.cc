#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "benchmark.h"
#include "descriptor_pool.h"
#include "kedge/runtime/descriptor.h"

namespace {

constexpr std::size_t connections = 64;
using payload = std::array<std::byte, 64>;
using buffer = std::array<std::byte, 4096>;

class listening_socket {
 public:
  listening_socket() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    if (fd_ < 0 || ::bind(fd_, as_sockaddr(), size) != 0 || ::listen(fd_, connections) != 0 ||
        ::getsockname(fd_, as_sockaddr(), &size) != 0) {
      throw_errno("listen");
    }
  }
  listening_socket(const listening_socket&) = delete;
  listening_socket& operator=(const listening_socket&) = delete;
  ~listening_socket() { ::close(fd_); }

  // Returns the client's blocking end and the server's, which does not block.
  std::array<int, 2> connect() {
    const int client = ::socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0 || ::connect(client, as_sockaddr(), sizeof address_) != 0) {
      throw_errno("connect");
    }
    const int server = ::accept(fd_, nullptr, nullptr);
    if (server < 0 || ::fcntl(server, F_SETFL, O_NONBLOCK) != 0) throw_errno("accept");
    const int on = 1;
    for (const int fd : {client, server}) {
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return {client, server};
  }

 private:
  sockaddr* as_sockaddr() { return reinterpret_cast<sockaddr*>(&address_); }
  int fd_;
  sockaddr_in address_{};
};

class connected_clients {
 public:
  connected_clients() = default;
  connected_clients(const connected_clients&) = delete;
  connected_clients& operator=(const connected_clients&) = delete;
  ~connected_clients() {
    for (const int fd : fds_) ::close(fd);
  }

  void add(int fd) { fds_.push_back(fd); }
  void ask() const {
    const payload question{};
    for (const int fd : fds_) {
      if (::write(fd, question.data(), question.size()) < 0) throw_errno("write");
    }
  }
  void take_answers() const {
    payload answer;
    for (const int fd : fds_) {
      if (::recv(fd, answer.data(), answer.size(), MSG_WAITALL) < 0) throw_errno("recv");
    }
  }

 private:
  std::vector<int> fds_;
};

kedge::task<> echo(kedge::loop& loop, int fd, std::uint64_t& done) {
  kedge::descriptor peer(loop, fd, kedge::ownership::owned);
  buffer bytes;
  for (;;) {
    const std::size_t size = (co_await peer.read_some(bytes)).value();
    (co_await peer.write_some(std::span(bytes).first(size))).value();
    ++done;
  }
}

}  // namespace

// Each connection has one message under way. The clients are two plain calls per message.
void echo_over_tcp(std::uint64_t n) {
  kedge::loop loop;
  count_turns(loop);
  listening_socket listener;
  connected_clients clients;
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < connections; ++i) {
    const auto [client, server] = listener.connect();
    clients.add(client);
    loop.spawn(echo(loop, server, done));
  }
  for (std::uint64_t asked = 0; asked < n;) {
    clients.ask();
    asked += connections;
    while (done < asked) loop.run_once();
    clients.take_answers();
  }
}
