// An echo server by hand: one edge-triggered registration per connection, one buffer for all.
#if defined(__linux__)

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "benchmark.h"
#include "descriptor_pool.h"
#include "echo_run.h"

namespace {

class epoll_server {
 public:
  epoll_server() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), buffer_(64 * 1024) {
    ::fcntl(listener_.fd(), F_SETFL, O_NONBLOCK);
    watch(listener_.fd(), EPOLLIN | EPOLLET, nullptr);
  }
  epoll_server(const epoll_server&) = delete;
  epoll_server& operator=(const epoll_server&) = delete;
  ~epoll_server() {
    while (first_ != nullptr) end(*first_);
    ::close(epoll_);
  }

  std::uint16_t port() const { return listener_.port(); }
  server_counts counts;

  void turn() {
    const int count = ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), -1);
    for (int i = 0; i < count; ++i) {
      const epoll_event& e = events_[static_cast<std::size_t>(i)];
      if (e.data.ptr == nullptr) {
        accept_all();
      } else {
        auto& c = *static_cast<connection*>(e.data.ptr);
        const bool has_ended = (e.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        if (!echo(c, has_ended)) end(c);
      }
    }
  }

 private:
  struct connection {
    int fd;
    std::vector<char> unsent;
    connection* previous;
    connection* next;
  };

  void watch(int fd, std::uint32_t events, connection* c) const {
    epoll_event e{};
    e.events = events;
    e.data.ptr = c;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) != 0) throw_errno("epoll_ctl");
  }

  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      auto* const c = new connection{fd, {}, nullptr, first_};
      if (first_ != nullptr) first_->previous = c;
      first_ = c;
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
      ++counts.accepted;
    }
  }

  // Both return false if the connection has ended.
  bool send_unsent(connection& c) {
    std::size_t sent = 0;
    while (sent < c.unsent.size()) {
      const ssize_t n = ::write(c.fd, c.unsent.data() + sent, c.unsent.size() - sent);
      if (n < 0 && errno != EAGAIN) return false;
      if (n < 0) break;
      sent += static_cast<std::size_t>(n);
      counts.echoed += static_cast<std::size_t>(n);
    }
    c.unsent.erase(c.unsent.begin(), c.unsent.begin() + static_cast<std::ptrdiff_t>(sent));
    return true;
  }
  bool echo(connection& c, bool has_ended) {
    if (!c.unsent.empty() && !send_unsent(c)) return false;
    while (c.unsent.empty()) {
      const ssize_t got = ::read(c.fd, buffer_.data(), buffer_.size());
      if (got <= 0) return got < 0 && errno == EAGAIN;
      ssize_t put = ::write(c.fd, buffer_.data(), static_cast<std::size_t>(got));
      if (put < 0 && errno != EAGAIN) return false;
      if (put < 0) put = 0;
      counts.echoed += static_cast<std::size_t>(put);
      if (put < got) {
        c.unsent.assign(buffer_.data() + put, buffer_.data() + got);
        if (!send_unsent(c)) return false;
      }
      const bool is_drained = static_cast<std::size_t>(got) < buffer_.size();
      if (is_drained && !has_ended) return true;
    }
    return true;
  }

  void end(connection& c) {
    ::close(c.fd);
    (c.previous != nullptr ? c.previous->next : first_) = c.next;
    if (c.next != nullptr) c.next->previous = c.previous;
    delete &c;
    ++counts.ended;
  }

  loopback_listener listener_;
  int epoll_;
  std::vector<char> buffer_;
  std::array<epoll_event, 256> events_;
  connection* first_ = nullptr;
};

}  // namespace

template <std::size_t connections, std::size_t size>
void echo_by_epoll(std::uint64_t n) {
  echo_to_clients<epoll_server, connections, size>(n);
}
template void echo_by_epoll<64, 64>(std::uint64_t);
template void echo_by_epoll<1000, 64>(std::uint64_t);
template void echo_by_epoll<1000, 16384>(std::uint64_t);

void accept_by_epoll(std::uint64_t n) {
  accept_from_clients<epoll_server>(n);
}

#endif
