// tcp_clients: plain calls on sockets of the loopback interface.
#include "tcp_clients.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "descriptor_pool.h"

namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(port);
  return a;
}

const sockaddr* as_sockaddr(const sockaddr_in& a) {
  return reinterpret_cast<const sockaddr*>(&a);
}

}  // namespace

// Accepted sockets inherit TCP_NODELAY.
loopback_listener::loopback_listener() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
  const sockaddr_in a = loopback(0);
  const int on = 1;
  if (fd_ < 0 || ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      ::bind(fd_, as_sockaddr(a), sizeof a) != 0 || ::listen(fd_, SOMAXCONN) != 0) {
    throw_errno("listen");
  }
}

loopback_listener::~loopback_listener() {
  ::close(fd_);
}

std::uint16_t loopback_listener::port() const {
  sockaddr_in a{};
  socklen_t size = sizeof a;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size) != 0) throw_errno("getsockname");
  return ntohs(a.sin_port);
}

// The heap of a benchmark that counts bytes does not grow with the number of clients.
tcp_clients::tcp_clients(std::size_t message_size)
    : question_(message_size), answer_(message_size) {
  most_descriptors();  // raises the limit
  fds_.reserve(most);
  question_.back() = '\n';
}

void tcp_clients::connect(std::uint16_t port, std::size_t count) {
  const sockaddr_in to = loopback(port);
  const int on = 1;
  for (; count != 0; --count) {
    fds_.push_back(::socket(AF_INET, SOCK_STREAM, 0));
    if (fds_.back() < 0 || ::connect(fds_.back(), as_sockaddr(to), sizeof to) != 0 ||
        ::setsockopt(fds_.back(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
      throw_errno("connect");
    }
  }
}

void tcp_clients::ask(std::size_t count) {
  const auto size = static_cast<ssize_t>(question_.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (::write(fds_[i], question_.data(), question_.size()) != size) throw_errno("write");
  }
}

void tcp_clients::take_answers(std::size_t count) {
  const auto size = static_cast<ssize_t>(answer_.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (::recv(fds_[i], answer_.data(), answer_.size(), MSG_WAITALL) != size) throw_errno("recv");
  }
}

void tcp_clients::close() {
  for (const int fd : fds_) ::close(fd);
  fds_.clear();
}
