// received: a message that has come in. Owns every right in it that has not been taken out.
//
//     mach::received request = (co_await requests.receive()).value();
//     auto header = request.read<batch_header>();          // optional: the message may be short
//     mach::send_right watcher = request.take_send(0);
//
// The sender may be hostile: whatever it sent, reading stays within the message, and what is not
// there is empty or nullopt. Who sent it is in sender(), which the kernel vouches for; ids and
// contents prove nothing. Memory out of line and arrays of ports cannot be taken out yet: they are
// released with the message.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "kedge/mach/message_buffer.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class received {
 public:
  // Empty.
  received() = default;
  // What mach_msg has put into `buffer`, which must hold a header at least, with a trailer of
  // MACH_RCV_TRAILER_AUDIT. Takes over all rights in it.
  explicit received(block&& buffer) noexcept;
  received(received&& other) noexcept = default;
  received& operator=(received&& other) noexcept;
  ~received() { clear(); }

  explicit operator bool() const noexcept { return block_.data() != nullptr; }

  mach_msg_id_t id() const noexcept { return *this ? block_.header().msgh_id : 0; }

  // What follows the descriptors. Senders count in fours: up to three zeros may follow what was
  // meant.
  std::span<const std::byte> bytes() const noexcept;
  // The bytes without zeros at the end, at most three.
  std::string_view text() const noexcept;
  // The T at `offset` of the bytes.
  template <class T>
  std::optional<T> read(std::size_t offset = 0) const noexcept {
    static_assert(std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>);
    const std::span<const std::byte> all = bytes();
    if (offset > all.size() || all.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(static_cast<void*>(&value), all.data() + offset, sizeof(T));
    return value;
  }

  // Descriptors, of any kind.
  std::size_t rights() const noexcept { return rights_; }
  // The right of descriptor i, which the caller owns from then on. Empty if it is of another kind,
  // was taken already or is not there.
  send_right take_send(std::size_t i) noexcept {
    return send_right::adopt(take(i, MACH_MSG_TYPE_MOVE_SEND));
  }
  send_once_right take_send_once(std::size_t i) noexcept {
    return send_once_right::adopt(take(i, MACH_MSG_TYPE_MOVE_SEND_ONCE));
  }
  // Guarded anew. Throws std::bad_alloc; then the right is in the message still.
  receive_right take_receive(std::size_t i);
  // What to answer by. Empty if the sender expects no answer, or has died.
  reply_right take_reply() noexcept;

  // Whether it came in by this right: for messages received from a set.
  bool arrived_on(const receive_right& right) const noexcept;

  // How many messages were taken from the port before.
  mach_port_seqno_t sequence() const noexcept { return trailer_.msgh_seqno; }
  // Who sent it, as the kernel vouches for.
  const audit_token_t& sender() const noexcept { return trailer_.msgh_audit; }
  // Whether the kernel itself sent it, as it sends notifications. Nobody can forge that.
  bool from_kernel() const noexcept;

  // Releases everything.
  void clear() noexcept;

 private:
  // That of nobody: all zeros would be the kernel's.
  static mach_msg_audit_trailer_t no_trailer() noexcept;
  void parse() noexcept;
  std::byte* descriptor(std::size_t i) const noexcept;
  mach_port_name_t take(std::size_t i, mach_msg_type_name_t disposition) noexcept;

  block block_;
  std::size_t rights_ = 0;
  std::size_t offset_ = 0;  // of the bytes
  mach_msg_audit_trailer_t trailer_ = no_trailer();
};

}  // namespace kedge::mach
