// message: a message to send.
//
//     mach::message m(count_words, header, text, std::move(answers));
//     m.append(watcher);                            // a send right: copied, one more reference
//     co_await mach::send(worker, std::move(m));
//
// The receiver finds the rights in the order in which they were appended, and the bytes in the
// order in which they were appended; how rights and bytes alternate does not matter. The size of a
// Mach message is a multiple of four, so up to three zero bytes follow the last byte. counted()
// sends the length of bytes or text along (kedge/mach/plain.h).
//
// Ownership: the message owns every right and all memory in it until it has been sent. Rights are
// only ever moved into a Mach message, and only rights that the message owns, so the kernel has no
// reason to refuse one halfway. (With MACH_SEND_INVALID_RIGHT, mach_msg leaves open what it has
// consumed.) To send a new right to a port of your own, append `right.make_send()`. A message that
// could not be sent gives its rights back: take_*().
//
// The name() of a right is a number, and means nothing to the receiver: append the right. A
// receiver takes messages of at most 64 KiB unless it says otherwise (receive().at_most()).
//
// A message of up to some 2 KB costs no call to malloc in the steady state.
// Errors: appending throws std::bad_alloc; std::length_error if the message would be larger than
// the kernel lets pass (max_size, max_rights), before anything is copied; and std::logic_error for
// a right of another space than the current one, or of another than the message's. The message is
// then unchanged, and a right that was to be moved in is the caller's still. A send right of which
// the kernel gives no reference (its name was released by other code) throws std::system_error, and
// is lost.
#pragma once

#include <mach/mach.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/mach/any_right.h"
#include "kedge/mach/descriptor.h"
#include "kedge/mach/descriptor_access.h"
#include "kedge/mach/immovable.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/message_buffer.h"
#include "kedge/mach/plain.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/mach/voucher.h"

namespace kedge::mach {

// What can be appended to a message. Rights, arrays and memory are moved in; a send right can also
// be copied.
template <class T>
concept message_part =
    plain<std::remove_cvref_t<T>> ||
    (!std::is_null_pointer_v<std::remove_cvref_t<T>> &&
     (std::convertible_to<T, std::span<const std::byte>> ||
      std::convertible_to<T, std::string_view>)) ||
    std::same_as<std::remove_cvref_t<T>, counted_bytes> ||
    std::same_as<std::remove_cvref_t<T>, send_right> || std::same_as<T, send_once_right> ||
    std::same_as<T, reply_right> || std::same_as<T, receive_right> || std::same_as<T, any_right> ||
    std::same_as<T, immovable> || std::same_as<T, memory_region> ||
    std::same_as<T, std::vector<send_right>> || std::same_as<T, std::vector<send_once_right>> ||
    std::same_as<T, std::vector<receive_right>>;

// The same as a value: the compiler does not explain a value.
template <class T>
inline constexpr bool is_message_part = message_part<T>;

class message : public descriptor_access<message> {
 public:
  // The kernel's limits. Bytes of a message in all: header, descriptors, and bytes with padding.
  static constexpr std::size_t max_size = 48u * 1024 * 1024 - MAX_TRAILER_SIZE;
  // Rights of a message, those in arrays included.
  static constexpr std::size_t max_rights = 16383;

  // Empty. The first append makes it a message with id 0.
  message() = default;
  // A message with `id` (msgh_id), by which the receiver distinguishes messages. Appends
  // each of `parts`.
  template <class... Parts>
  explicit message(mach_msg_id_t id, Parts&&... parts)
      : message(begin(id, (std::size_t{0} + ... + hint(parts)))) {
    if constexpr ((plain<std::remove_cvref_t<Parts>> && ...) &&
                  (std::size_t{0} + ... + sizeof(Parts)) <= max_size - sizeof(mach_msg_header_t)) {
      // begin() has made room.
      [[maybe_unused]] std::byte* at = buffer_.data() + sizeof(mach_msg_header_t);
      ((std::memcpy(at, &parts, sizeof parts), at += sizeof parts), ...);
      this->parts().size = sizeof(mach_msg_header_t) + (std::size_t{0} + ... + sizeof(Parts));
    } else if constexpr ((message_part<Parts> && ...)) {
      (append(std::forward<Parts>(parts)), ...);
    } else {
      refuse<Parts...>();
    }
  }
  message(message&&) = default;
  message& operator=(message&& other) noexcept {
    if (this != &other) {
      clear();
      buffer_ = std::move(other.buffer_);
    }
    return *this;
  }
  ~message() { clear(); }

  // False if the message is empty: default-constructed, moved from or sent. If it is sent all the
  // same, the receiver gets id 0 and nothing else.
  explicit operator bool() const noexcept { return buffer_.data() != nullptr; }

  mach_msg_id_t id() const noexcept;
  std::span<const std::byte> bytes() const noexcept;
  // The number of descriptors: an array of rights counts as one, and so does memory.
  std::size_t rights() const noexcept { return *this ? parts().descriptors : 0; }

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  template <plain T>
  void append(const T& value) {
    if (!has_room(sizeof value)) return append(std::as_bytes(std::span(&value, 1)));
    std::memcpy(buffer_.data() + parts().size, &value, sizeof value);
    parts().size += sizeof value;
  }
  // counted().
  void append(counted_bytes bytes);

  void append(const send_right& right) { append(send_right(right)); }
  void append(send_right&& right);
  void append(send_once_right&& right);
  // The receiver gets a send right or a send-once right, as it was.
  void append(reply_right&& right);
  // The queued messages are transferred with the right. Its guard, sequence number and membership
  // of port sets are not, and a task that awaits it gets errc::closed.
  void append(receive_right&& right);
  // The receiver gets a right of the same kind; of none, an empty one.
  void append(any_right&& right);
  void append(immovable&& right);
  // Memory is moved out-of-line, where the kernel can without a copy of its contents. To keep it,
  // append `region.copy()`. At most 4 GiB - 1.
  void append(memory_region&& memory);
  // Sends the rights as one array out-of-line. An empty right is an empty element.
  void append(std::vector<send_right>&& rights);
  void append(std::vector<send_once_right>&& rights);
  void append(std::vector<receive_right>&& rights);
  // Whatever else: refused, with the reason.
  template <class T>
    requires(!message_part<T>)
  void append(T&&) {
    refuse<T>();
  }

  // Sets the right by which the receiver replies, and releases the one set before. If its port has
  // died when the message is sent, the message is sent without one.
  void reply_to(const send_right& right) { reply_to(send_right(right)); }
  void reply_to(send_right&& right);
  void reply_to(send_once_right&& right);
  void reply_to(reply_right&& right);

  // Sets the voucher that the message carries, and releases the one set before (voucher.h). None
  // leaves the message without. Throws as append().
  void carry(voucher v);

  // The functions of descriptor_access take rights and memory back out of a message that was not
  // sent. The receiver of the message finds empty ones in their place.
  //
  // Takes the right back that reply_to() has set. Throws std::bad_alloc; the right then stays.
  reply_right take_reply(const place& where = place::current());
  // The same for the voucher that carry() has set.
  voucher take_voucher(const place& where = place::current());

  // Releases every right and the memory. The message is then empty.
  void clear() noexcept {
    if (*this) release_contents();
  }

 private:
  friend class descriptor_access<message>;
  friend class blocking_call;
  friend class message_transmission;
  friend class outgoing;
  friend class message_retention;
  friend class destination;
  friend class message_encoder;
  friend class send_operation;
  friend class call_operation;

  template <class... Parts>
  static void refuse() {
    static_assert((is_message_part<Parts> && ...),
                  "kedge::mach::message: a part is a trivially copyable value without pointers, "
                  "padding and floating-point members, bytes, text, or a right, an array of rights "
                  "or memory that is moved in (std::move). Send other structs without pointers as "
                  "raw(x), other sequences as std::as_bytes(std::span(x))");
  }

  // An estimate of the bytes that a part takes. No sum of these overflows.
  template <class T>
  static std::size_t hint(const T& part) noexcept {
    if constexpr (std::same_as<T, counted_bytes>) {
      return bounded(part.bytes.size()) + 8;
    } else if constexpr (plain<T>) {
      return sizeof(T);
    } else if constexpr (std::convertible_to<const T&, std::string_view>) {
      return bounded(std::string_view(part).size());
    } else if constexpr (std::convertible_to<const T&, std::span<const std::byte>>) {
      return bounded(std::span<const std::byte>(part).size());
    } else {
      return 16;
    }
  }
  static std::size_t bounded(std::size_t size) noexcept {
    return size < max_size ? size : max_size;
  }

  struct layout;
  // A typical small message fits into the usual buffer.
  static constexpr std::size_t usual_size = 256;
  using buffer = message_buffer<layout, usual_size>;
  explicit message(buffer&& begun) noexcept : buffer_(std::move(begun)) {}
  // Returns the buffer of a message without parts, with room for `room` bytes of them.
  static buffer begin(mach_msg_id_t id, std::size_t room);
  // Begins an empty message. Throws std::logic_error if a message belongs to another space.
  void begin_here(std::size_t room = 0);
  void reserve(std::size_t more);
  // Adds `size` bytes, which the caller writes, and returns where they begin. Requires room for
  // them (begin(), reserve()).
  std::byte* extend(std::size_t size) noexcept {
    std::byte* const at = buffer_.data() + parts().size;
    parts().size += size;
    return at;
  }
  // Throws std::length_error unless the message may grow by `more` bytes.
  void require_room(std::size_t more) const;
  void reserve_descriptor(std::size_t length, std::size_t rights = 1);
  template <class Descriptor>
  void add_descriptor(const Descriptor& descriptor, std::size_t rights = 1) noexcept;
  void add_right(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept;
  template <class Right>
  void add_array(std::vector<Right>&& rights, mach_msg_type_name_t disposition);
  void set_reply(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept;
  mach_msg_type_name_t reply_disposition() const noexcept {
    return MACH_MSGH_BITS_LOCAL(buffer_.header().msgh_bits);
  }
  mach_msg_type_name_t voucher_disposition() const noexcept {
    return MACH_MSGH_BITS_VOUCHER(buffer_.header().msgh_bits);
  }
  // Sets the dispositions of the header's rights, but for the destination's.
  void set_bits(mach_msg_type_name_t reply, mach_msg_type_name_t voucher) noexcept {
    const mach_msg_bits_t complex = parts().descriptors != 0 ? MACH_MSGH_BITS_COMPLEX : 0u;
    buffer_.header().msgh_bits = MACH_MSGH_BITS_SET(0u, reply, voucher, complex);
  }
  // Returns true if the buffer holds `more` bytes more, and what follows the last one (reserve()).
  bool has_room(std::size_t more) const noexcept {
    if (!*this) return false;
    const std::size_t size = parts().size + more;
    return size + sizeof(natural_t) <= buffer_.size() && size <= max_size;
  }
  void release_contents() noexcept;
  // Gives up the buffer without releasing what is in it: others own it now.
  void forget() noexcept { const buffer released = std::move(buffer_); }
  // Those below, but for here(), require that the message is not empty.
  descriptor_list list() const noexcept;
  // list(), or none if the space in which the names have their meaning is not current.
  descriptor_list here() const noexcept { return *this && is_here() ? list() : descriptor_list(); }
  // Where the bytes begin, behind the header and the descriptors.
  std::size_t offset() const noexcept;

  // Returns true if the space in which the names have their meaning is current.
  bool is_here() const noexcept { return parts().space == space_incarnation(); }

  // What is in the buffer. The kernel's limits are far below 32 bits.
  struct layout {
    std::uint32_t space = 0;
    bool has_array = false;
    std::uint8_t stride = 0;   // the size of each descriptor; 0 if they have different sizes
    std::uint16_t rights = 0;  // those in arrays included
    std::uint32_t descriptors = 0;
    std::uint32_t descriptor_bytes = 0;
    std::size_t size = 0;  // header, descriptors and bytes; not rounded up
  };
  layout& parts() const noexcept { return buffer_.head(); }

  buffer buffer_;
};

inline message::buffer message::begin(mach_msg_id_t id, std::size_t room) {
  constexpr std::size_t front = sizeof(mach_msg_base_t) + sizeof(natural_t);
  buffer made(room <= usual_size - front ? usual_size : front + bounded(room));
  made.header() = {};
  made.header().msgh_id = id;
  made.head().size = sizeof(mach_msg_header_t);
  made.head().space = space_incarnation();
  return made;
}

}  // namespace kedge::mach
