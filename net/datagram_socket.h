// datagram_socket: what udp_socket and unix_datagram_socket share: sending and receiving messages.
//
//     std::array<std::byte, 1500> room;
//     const auto got = co_await socket.receive(room);          // result<received_datagram>
//     co_await socket.send_to(std::span(room).first(got->size), got->from);
//
// A datagram is sent and received as a whole. An empty one is a datagram too: its size is 0. One
// that is larger than the room for it is cut off, which `is_truncated` tells.
//
// Network errors. What ICMP reports about datagrams that were sent concerns one peer of many, so it
// ends no receive() or send_to() of an unconnected socket. A connected one gives it: ECONNREFUSED
// if nothing is bound to the peer's port.
//
// One task may wait to receive and one to send; a second one gets errc::already_awaited. Datagrams
// move when the task has its turn, so cancelling a wait loses nothing. Rooms, bytes and addresses
// must live until the wait ends. An awaitable may outlive the object, and then gives errc::closed.
//
// The socket is owned, close-on-exec and non-blocking, and raises no SIGPIPE. Threads: the loop's
// thread only. An object may outlive its loop: waits then end with errc::loop_gone.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "kedge/net/address.h"
#include "kedge/net/owned_fd.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

struct received_datagram {
  std::size_t size = 0;       // of what is in the room
  bool is_truncated = false;  // the datagram had more
  address from;               // none if the sender has no name
};

// A place for one datagram of several.
struct datagram_slot {
  std::span<std::byte> room;
  received_datagram got;  // set by receive()

  std::span<const std::byte> bytes() const noexcept { return room.first(got.size); }
};

enum class datagram_kind : unsigned char {
  datagrams,
  packets,  // SOCK_SEQPACKET: there is an end
};

// The transfers of the functions below.
class one_datagram {
 public:
  static constexpr const char* aim = "read";
  static constexpr const char* name = "receive fd";
  static constexpr probing probe = probing::not_for_sockets;
  one_datagram(datagram_kind k, std::span<std::byte> room) noexcept : kind_(k), room_(room) {}
  std::optional<result<received_datagram>> operator()(int fd) const noexcept;

 private:
  datagram_kind kind_;
  std::span<std::byte> room_;
};

class several_datagrams {
 public:
  static constexpr const char* aim = "read";
  static constexpr const char* name = "receive fd";
  static constexpr probing probe = probing::not_for_sockets;
  several_datagrams(datagram_kind k, std::span<datagram_slot> slots) noexcept
      : kind_(k), slots_(slots) {}
  bool is_empty() const noexcept { return slots_.empty(); }
  std::optional<result<std::size_t>> operator()(int fd) const noexcept;

 private:
  datagram_kind kind_;
  std::span<datagram_slot> slots_;
};

class sent_datagram {
 public:
  static constexpr const char* aim = "written";
  static constexpr const char* name = "send fd";
  static constexpr probing probe = probing::not_for_sockets;
  // `to`: null: the peer of a connected socket. `waits`: while the system has no room for the
  // datagram; else the transfer gives EAGAIN then.
  sent_datagram(std::span<const std::byte> bytes, const address* to, bool waits = true) noexcept
      : bytes_(bytes), to_(to), waits_(waits) {}
  std::optional<result<void>> operator()(int fd) const noexcept;

 private:
  std::span<const std::byte> bytes_;
  const address* to_;
  bool waits_;
};

class datagram_socket {
 public:
  // -1 when closed. The fd stays this object's.
  int native_handle() const noexcept { return file_ ? file_->native_handle() : -1; }
  explicit operator bool() const noexcept { return native_handle() >= 0; }

  // Waits for a datagram. An empty room receives too.
  auto receive(std::span<std::byte> room) { return reading(one_datagram(kind_, room)); }
  // Waits for a datagram, and takes as many as are queued and as there are slots for, into the
  // first slots. Gives how many, which is 0 only for no slots, and then at once. An error that is
  // reported behind a datagram is lost.
  auto receive(std::span<datagram_slot> slots) { return reading(several_datagrams(kind_, slots)); }

  // After this call the socket sends to, and receives from, this peer alone. Does not wait: gives
  // EAGAIN if the queue of a Unix listener is full, and otherwise the system's error.
  result<void> connect(const address& peer) noexcept;

  void close() noexcept {
    if (file_) file_->close();
  }

  // Give errc::closed, or the system's error: ENOTCONN.
  result<address> local_address() const;
  result<address> peer_address() const;

  // In bytes. The system may round, double and bound them. A datagram for which there is no room is
  // lost.
  result<void> set_receive_buffer(std::size_t bytes) noexcept;
  result<void> set_send_buffer(std::size_t bytes) noexcept;

 protected:
  datagram_socket() = default;
  // Takes over a socket of host.h's functions. Throws std::bad_alloc, having closed it.
  datagram_socket(reactor& r, owned_fd socket, datagram_kind k);
  ~datagram_socket() { close(); }
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the socket
  // that was here before.
  datagram_socket(datagram_socket&& other) noexcept = default;
  datagram_socket& operator=(datagram_socket&& other) noexcept;

  result<void> set_option(int level, int option, int value) noexcept;

  template <class Transfer>
  transfer_awaitable<direction::reading, Transfer> reading(Transfer t) {
    return file_ ? file_->reading(t) : descriptor().reading(t);
  }
  template <class Transfer>
  transfer_awaitable<direction::writing, Transfer> writing(Transfer t) {
    return file_ ? file_->writing(t) : descriptor().writing(t);
  }

  std::shared_ptr<descriptor> file_;  // null: closed. Shared with tasks that send
  datagram_kind kind_ = datagram_kind::datagrams;
};

}  // namespace kedge::net
