// received: a message that was received. Owns every right in it that was not taken out.
//
//     mach::received request = (co_await requests.receive()).value();
//     auto header = request.read<batch_header>();          // optional: the message may be short
//     mach::send_right watcher = request.take_send(0);
//     for (auto& d : request.descriptors()) watchers.push_back(d.take_send());
//
// The sender may be hostile. Whatever it sent, reading never leaves the message: a missing right is
// empty, a missing value is nullopt. Only sender() identifies the sender, since the kernel writes
// it; ids and contents prove nothing.
//
// An empty object answers like a message without bytes, rights and sender. In another space than
// the one in which the message was received, and in a forked child, no right and no memory can be
// taken out.
#pragma once

#include <mach/mach.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kedge/mach/descriptor.h"
#include "kedge/mach/descriptor_access.h"
#include "kedge/mach/message_buffer.h"
#include "kedge/mach/message_reader.h"
#include "kedge/mach/plain.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/mach/voucher.h"
#include "kedge/mach/wanted_message.h"

namespace kedge::mach {

// What is where in the buffer of a received message.
struct received_layout {
  descriptor_list descriptors;
  std::size_t offset = 0;  // where the bytes begin
  std::uint64_t tag = 0;
  const mach_msg_context_trailer_t* trailer = nullptr;
  std::uint32_t space = 0;  // in which the names have their meaning
};
inline constexpr std::size_t usual_receive_size = 512;
using received_buffer = message_buffer<received_layout, usual_receive_size>;

class received : public descriptor_access<received> {
 public:
  // Empty.
  received() = default;
  // Takes over the message in `buffer`, as mach_msg has received it with MACH_RCV_TRAILER_CTX or
  // more, and all rights in it. Requires room for a header at least.
  explicit received(received_buffer&& buffer) noexcept : buffer_(std::move(buffer)) { parse(); }
  received(received&&) = default;
  received& operator=(received&& other) noexcept {
    if (this != &other) {
      clear();
      buffer_ = std::move(other.buffer_);
    }
    return *this;
  }
  ~received() { clear(); }

  // False if the object is empty: default-constructed, moved from or cleared.
  explicit operator bool() const noexcept { return buffer_.data() != nullptr; }

  mach_msg_id_t id() const noexcept { return *this ? buffer_.header().msgh_id : 0; }

  // What follows the descriptors. The size of a message is a multiple of four, so up to three zero
  // bytes may follow what the sender wrote.
  std::span<const std::byte> bytes() const noexcept;
  // The bytes, without up to three zeros at their end. Not for what mach::counted() has sent:
  // reader().text() reads that.
  std::string_view text() const noexcept;
  // Copies the T that begins `offset` bytes into bytes(). Returns nullopt if the message is too
  // short.
  template <readable T>
  std::optional<T> read(std::size_t offset = 0) const noexcept {
    const std::span<const std::byte> all = bytes();
    if (offset > all.size() || all.size() - offset < sizeof(T)) return std::nullopt;
    return read_value<T>(all.data() + offset);
  }
  // Reads the parts one after the other. Valid until the message is moved or cleared.
  message_reader reader() const& noexcept { return message_reader(bytes()); }
  message_reader reader() && = delete;

  // Returns true if the message is one of those with descriptors (MACH_MSGH_BITS_COMPLEX). The
  // sender may have said so of one without any.
  bool complex() const noexcept {
    return *this && MACH_MSGH_BITS_IS_COMPLEX(buffer_.header().msgh_bits);
  }
  // The number of descriptors, of any kind: an array of rights counts as one.
  std::size_t rights() const noexcept { return *this ? contents().descriptors.size() : 0; }
  // Takes the reply right. Throws std::bad_alloc; the right then stays. Empty if the sender expects
  // no reply, or if its reply port is dead.
  reply_right take_reply(const place& where = place::current());

  // Takes the voucher, which the message has only if the receive has asked for it
  // (receive().with_voucher()). Throws std::bad_alloc; the voucher then stays.
  voucher take_voucher(const place& where = place::current());

  // The tag with which the message's port was inserted into the port set that gave the message. 0
  // if it came from no set, or if the port had no tag. Takes constant time.
  std::uint64_t tag() const noexcept { return *this ? contents().tag : 0; }
  // Returns true if the message was queued at the port of `right`, and not at a former port of the
  // same name.
  bool arrived_on(const receive_right& right) const noexcept;

  // The number of messages received from the port before this one (msgh_seqno).
  mach_port_seqno_t sequence() const noexcept { return trailer().msgh_seqno; }
  // The sender's audit token, as the kernel wrote it into the trailer. Valid until the message is
  // cleared.
  const audit_token_t& sender() const noexcept { return trailer().msgh_audit; }
  // The sender's user and group (val[0] and val[1]), as the kernel wrote them.
  const security_token_t& sender_ids() const noexcept { return trailer().msgh_sender; }
  // The context of the port, as it was when the message was received. That of a receive_right is
  // its guard, a number that no other right of the process has.
  mach_port_context_t context() const noexcept { return trailer().msgh_context; }
  // The id that a filter of the kernel has given the message, and the sender's label: nullopt,
  // unless receive().with_trailer() has asked for them. Today's kernels give 0 and MACH_PORT_NULL,
  // but for the ids of their own filters.
  std::optional<mach_msg_filter_id> filter_id() const noexcept {
    if (!has_all()) return std::nullopt;
    return whole_trailer().msgh_ad;
  }
  std::optional<mach_port_name_t> label() const noexcept {
    if (!has_all()) return std::nullopt;
    return whole_trailer().msgh_labels.sender;
  }
  // Returns true if the kernel itself sent the message, as it sends notifications. No task can
  // forge that.
  bool from_kernel() const noexcept;

  // Releases every right and the memory. The object is then empty.
  void clear() noexcept {
    if (!*this) return;
    const bool is_plain = contents().descriptors.empty() &&
                          buffer_.header().msgh_remote_port == MACH_PORT_NULL &&
                          buffer_.header().msgh_voucher_port == MACH_PORT_NULL;
    if (!is_plain) release_rights();
    const received_buffer released = std::move(buffer_);
  }

 private:
  friend class descriptor_access<received>;
  friend class port_source;
  friend kernel::receiving receive_fast(mach_port_name_t name, std::size_t& expected_size,
                                        received& into, const wanted_message& wanted) noexcept;

  // A trailer with a token of all ones, which no task has: all zeros would be the kernel's.
  static const mach_msg_context_trailer_t no_trailer;
  // The same as an assignment of received(std::move(buffer)). Requires that there is no message.
  void begin(received_buffer&& buffer) noexcept {
    ::new (static_cast<void*>(&buffer_)) received_buffer(std::move(buffer));
    parse();
  }
  void parse() noexcept;
  void find_descriptors() noexcept;
  void release_rights() noexcept;
  const mach_msg_context_trailer_t& trailer() const noexcept {
    return *this ? *contents().trailer : no_trailer;
  }
  bool has_all() const noexcept {
    return trailer().msgh_trailer_size >= sizeof(mach_msg_mac_trailer_t);
  }
  // Requires has_all(): the smaller structure is the beginning of the larger one.
  const mach_msg_mac_trailer_t& whole_trailer() const noexcept {
    return reinterpret_cast<const mach_msg_mac_trailer_t&>(trailer());
  }
  // Returns true if the space in which the names have their meaning is current.
  bool is_here() const noexcept { return *this && contents().space == space_incarnation(); }
  // The descriptors, or none if they belong to another space.
  descriptor_list here() const noexcept {
    return is_here() ? contents().descriptors : descriptor_list();
  }

  // Requires that there is a message.
  received_layout& contents() const noexcept { return buffer_.head(); }

  received_buffer buffer_;
};

// Requires that contents() is as the buffer was made with.
inline void received::parse() noexcept {
  mach_msg_header_t& header = buffer_.header();
  const std::size_t room = buffer_.size();
  const std::size_t size =
      std::clamp(std::size_t{header.msgh_size}, sizeof(mach_msg_header_t), room);
  header.msgh_size = static_cast<mach_msg_size_t>(size);
  received_layout& found = contents();
  found.space = space_incarnation();
  found.offset = sizeof(mach_msg_header_t);
  if (MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits)) find_descriptors();
  const std::size_t end = (size + sizeof(natural_t) - 1) & ~(sizeof(natural_t) - 1);
  const mach_msg_context_trailer_t* trailer = &no_trailer;
  if (end + sizeof no_trailer <= room) {
    static_assert(alignof(mach_msg_context_trailer_t) <= sizeof(natural_t));
    const auto* const t = reinterpret_cast<const mach_msg_context_trailer_t*>(buffer_.data() + end);
    if (t->msgh_trailer_type == MACH_MSG_TRAILER_FORMAT_0 && t->msgh_trailer_size >= sizeof *t &&
        t->msgh_trailer_size <= room - end) {
      trailer = t;
    }
  }
  found.trailer = trailer;
}

}  // namespace kedge::mach
