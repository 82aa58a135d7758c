// Accepting, connecting, sending files and reading descriptors, interrupted at every point and
// short of memory at every allocation. No descriptor is left over.
#include <doctest/doctest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

#include "kedge/net/connect.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/unix_stream.h"
#include "kedge/runtime/loop.h"
#include "open_descriptors.h"
#include "raw_listener.h"
#include "tests/runtime/sweep.h"
#include "tests/temporary_folder.h"
#include "unnamed_file.h"

namespace kedge::net {
namespace {

address loopback() {
  return address::parse_host("127.0.0.1", 0).value();
}

class accepting_tcp : public scenario {
 public:
  accepting_tcp(loop& l, virtual_time& time) : listener_(l, loopback()), time_(time) {}
  auto awaited() { return listener_.accept(); }
  void complete() override {
    if (!listener_) return;
    client_ = owned_fd(::socket(AF_INET, SOCK_STREAM, 0));
    const address& to = listener_.local_address();
    CHECK(::connect(client_.get(), to.data(), to.size()) == 0);
    time_.advance(std::chrono::seconds(1));  // short of memory it has tried again later
  }
  void close() override { listener_.close(); }
  void took(const result<tcp_stream>& s) {
    s ? static_cast<void>(++delivered) : static_cast<void>(error = s.error());
  }

 private:
  tcp_listener listener_;
  owned_fd client_;
  virtual_time& time_;
};

TEST_CASE("tcp_listener::accept") {
  sweep<accepting_tcp>("task", open_descriptors);
}

class connecting_tcp : public scenario {
 public:
  connecting_tcp(loop&, virtual_time&) {}
  auto awaited() { return connect(listener_.at()); }
  // Both ends are connected when the listener has the connection. None is on its way while no
  // socket is open.
  void complete() override {
    if (open_descriptors() != before_) listener_.wait();
  }
  void took(const result<tcp_stream, connect_error>& s) {
    s ? static_cast<void>(++delivered) : static_cast<void>(error = s.error().code());
  }

 private:
  const raw_listener listener_{loopback(), 16};
  const std::size_t before_ = open_descriptors();
};

TEST_CASE("connect") {
  sweep<connecting_tcp>("task", open_descriptors);
}

// The backlog is full at first, so that a connection is tried again after a while.
class connecting_unix : public scenario {
 public:
  connecting_unix(loop&, virtual_time& time) : time_(time) { listener_.fill(); }
  auto awaited() { return connect_unix(listener_.at()); }
  void complete() override {
    listener_.take();
    time_.advance(std::chrono::seconds(1));
  }
  void close() override { listener_.close(); }
  void took(const result<unix_stream, connect_error>& s) {
    s ? static_cast<void>(++delivered) : static_cast<void>(error = s.error().code());
  }

 private:
  const temporary_folder folder_{"/tmp"};
  raw_listener listener_{address::unix_path(folder_ / "s").value(), 0};
  virtual_time& time_;
};

TEST_CASE("connect_unix") {
  sweep<connecting_unix>("task", open_descriptors);
}

// There is no room at first.
class sending_file : public scenario {
 public:
  sending_file(loop& l, virtual_time&) : ends_(unix_stream::pair(l)) {
    REQUIRE(::write(file_.get(), "x", 1) == 1);
    ssize_t n = 0;
    while ((n = ::send(ends_.first.native_handle(), block_.data(), block_.size(), MSG_DONTWAIT)) >
           0) {
      given_ += static_cast<std::size_t>(n);
    }
  }
  auto awaited() { return ends_.first.send_file(file_.get(), 0, 1); }
  void complete() override { take(); }
  void close() override { ends_.first.close(); }
  void took(const result<std::size_t>& n) {
    if (n) sent_ += *n;
    scenario::took(n);
  }
  // What was sent arrives, once.
  bool nothing_missing() override {
    while (take()) continue;
    return taken_ == given_ + sent_;
  }

 private:
  bool take() {
    const ssize_t n =
        ::recv(ends_.second.native_handle(), block_.data(), block_.size(), MSG_DONTWAIT);
    if (n > 0) taken_ += static_cast<std::size_t>(n);
    return n > 0;
  }

  const owned_fd file_ = unnamed_file();
  std::pair<unix_stream, unix_stream> ends_;
  std::array<std::byte, 4096> block_{};
  std::size_t given_ = 0;
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
};

TEST_CASE("stream_socket::send_file") {
  sweep<sending_file>("transfer_awaitable", open_descriptors);
}

class reading_descriptors : public scenario {
 public:
  reading_descriptors(loop& l, virtual_time&) : ends_(unix_stream::pair(l)) {}
  auto awaited() { return ends_.first.read_some(room_, fds_); }
  void complete() override {
    const std::array<int, 1> fds{ends_.first.native_handle()};
    const std::array<std::byte, 1> one{};
    loop own;
    if (own.run(ends_.second.write_some(one, fds))) ++given_;
  }
  void close() override { ends_.first.close(); }
  // Each descriptor travels with a byte.
  bool nothing_missing() override {
    int queued = 0;
    return !ends_.first ||
           (::ioctl(ends_.first.native_handle(), FIONREAD, &queued) == 0 &&
            fds_.size() + fds_.dropped() + static_cast<std::size_t>(queued) == given_);
  }

 private:
  std::pair<unix_stream, unix_stream> ends_;
  std::array<std::byte, 1> room_{};
  received_fds fds_{4};
  std::size_t given_ = 0;
};

TEST_CASE("unix_stream::read_some") {
  sweep<reading_descriptors>("transfer_awaitable", open_descriptors);
}

}  // namespace
}  // namespace kedge::net
