// Sending datagrams and receiving several, interrupted at every point and short of memory at every
// allocation.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>

#include "kedge/net/notifier.h"
#include "kedge/net/udp_socket.h"
#include "kedge/net/unix_datagram_socket.h"
#include "kedge/runtime/loop.h"
#include "tests/runtime/sweep.h"
#include "tests/temporary_folder.h"

namespace kedge::net {
namespace {

constexpr std::array<std::byte, 1> one_byte{};

// Takes a datagram out of the socket. Returns false if there is none.
bool take(const datagram_socket& s) {
  char byte;
  return ::recv(s.native_handle(), &byte, 1, MSG_DONTWAIT) == 1;
}
bool put(const datagram_socket& s, const address* to = nullptr) {
  return ::sendto(s.native_handle(), "x", 1, MSG_DONTWAIT, to != nullptr ? to->data() : nullptr,
                  to != nullptr ? to->size() : 0) == 1;
}

// Gives two datagrams at a time.
class receiving_batch : public scenario {
 public:
  receiving_batch(loop& l, virtual_time&) : ends_(unix_datagram_socket::pair(l)) {
    for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].room = std::span(rooms_[i]);
  }
  auto awaited() { return ends_.first.receive(slots_); }
  void complete() override {
    if (!ends_.first) return;
    REQUIRE(put(ends_.second));
    REQUIRE(put(ends_.second));
    given_ += 2;
  }
  void close() override { ends_.first.close(); }
  void took(const result<std::size_t>& n) {
    if (n) taken_ += *n;
    scenario::took(n);
  }
  // What was not delivered is still at the socket.
  bool nothing_missing() override {
    if (!ends_.first) return taken_ <= given_;
    while (take(ends_.first)) ++taken_;
    return taken_ == given_;
  }

 private:
  std::pair<unix_datagram_socket, unix_datagram_socket> ends_;
  std::array<std::array<std::byte, 4>, 3> rooms_{};
  std::array<datagram_slot, 3> slots_;
  std::size_t given_ = 0;
  std::size_t taken_ = 0;
};

// Each send that has ended has sent one datagram.
class sending_world : public scenario {
 public:
  bool nothing_missing() override {
    while (take_one()) continue;
    return taken_ == filled_ + delivered;
  }

 protected:
  explicit sending_world(const datagram_socket& to) : to_(to) {}
  bool take_one() {
    const bool has_one = take(to_);
    taken_ += has_one ? 1 : 0;
    return has_one;
  }
  // Sends until there is no more room: in the sender, where it is small, or in the receiver.
  void fill(datagram_socket& from, const address* to, bool in_sender = true) {
    if (in_sender) REQUIRE(from.set_send_buffer(1).has_value());
    while (put(from, to)) ++filled_;
  }

 private:
  const datagram_socket& to_;
  int filled_ = 0;
  int taken_ = 0;
};

// There is always room for it.
class sending_udp : public sending_world {
 public:
  sending_udp(loop& l, virtual_time&)
      : sending_world(receiver_), sender_(l, loopback()), receiver_(l, loopback()) {}
  auto awaited() { return sender_.send_to(one_byte, at_); }
  void complete() override {}
  void close() override { sender_.close(); }

 private:
  static address loopback() { return address::parse_host("127.0.0.1", 0).value(); }

  udp_socket sender_;
  udp_socket receiver_;
  const address at_ = receiver_.local_address().value();
};

class sending_to_peer : public sending_world {
 public:
  sending_to_peer(loop& l, virtual_time&)
      : sending_world(ends_.second), ends_(unix_datagram_socket::pair(l)) {
    fill(ends_.first, nullptr);
  }
  auto awaited() { return ends_.first.send(one_byte); }
  void complete() override { take_one(); }
  void close() override { ends_.first.close(); }

 private:
  std::pair<unix_datagram_socket, unix_datagram_socket> ends_;
};

// Tries again after a while.
class sending_to_path : public sending_world {
 public:
  sending_to_path(loop& l, virtual_time& time)
      : sending_world(receiver_), sender_(l), receiver_(l, at_), time_(time) {
    fill(sender_, &at_);
  }
  auto awaited() { return sender_.send_to(one_byte, at_); }
  void complete() override {
    take_one();
    time_.advance(std::chrono::seconds(1));
  }
  void close() override { sender_.close(); }

 private:
  temporary_folder folder_{"/tmp"};
  const address at_ = address::unix_path(folder_ / "receiver").value();
  unix_datagram_socket sender_;
  unix_datagram_socket receiver_;
  virtual_time& time_;
};

// Waits for room in the queue of the manager, which others have filled.
class notifying : public sending_world {
 public:
  notifying(loop& l, virtual_time&)
      : sending_world(receiver_), receiver_(l, at_), manager_(connected(l, at_)), other_(l) {
    fill(other_, &at_, false);
  }
  auto awaited() { return manager_.send("x"); }
  void complete() override { take_one(); }

 private:
  static notifier connected(loop& l, const address& at) {
    ::setenv("NOTIFY_SOCKET", std::string(at.path()).c_str(), 1);
    return notifier::from_environment(l);
  }

  temporary_folder folder_{"/tmp"};
  const address at_ = address::unix_path(folder_ / "manager").value();
  unix_datagram_socket receiver_;
  notifier manager_;
  unix_datagram_socket other_;
};

TEST_CASE("a receive of several datagrams survives every interruption") {
  sweep<receiving_batch>("transfer_awaitable");
}
TEST_CASE("a send of a UDP datagram survives every interruption") {
  sweep<sending_udp>("transfer_awaitable");
}
TEST_CASE("a send to the peer of a Unix socket survives every interruption") {
  sweep<sending_to_peer>("task");
}
TEST_CASE("a send to the path of a Unix socket survives every interruption") {
  sweep<sending_to_path>("task");
}
TEST_CASE("a message to the service manager survives every interruption") {
  sweep<notifying>("task");
}

}  // namespace
}  // namespace kedge::net
