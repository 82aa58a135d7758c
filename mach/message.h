// message: a message to send.
//
//     mach::message m(count_words, header, text, std::move(answers));
//     m.append(watcher);                            // a send right: copied, one more reference
//     co_await mach::send(worker, std::move(m));
//
// The receiver finds the rights in the order in which they were appended, and the bytes in the
// order in which they were appended; how rights and bytes alternate does not matter. The size of a
// Mach message is a multiple of four, so up to three zero bytes follow the last byte.
//
// Ownership: the message owns every right in it until it has been sent. Rights are only ever moved
// into a Mach message, and only rights that the message owns, so the kernel has no reason to refuse
// one halfway. (With MACH_SEND_INVALID_RIGHT, mach_msg leaves open what it has consumed.) To send a
// new right to a port of your own, append `right.make_send()`.
//
// A message of up to some 2 KB costs no call to malloc in the steady state.
// Errors: appending throws std::bad_alloc, and std::system_error for a right that cannot be copied.
// The message is then unchanged.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "kedge/mach/message_buffer.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class message;
struct send_result;
send_result transmit(message& m, mach_port_name_t to, mach_msg_type_name_t disposition) noexcept;

// A plain structure, which is sent as its bytes. Types that refer to bytes elsewhere (pointers,
// string_view, span) are excluded.
template <class T>
concept plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_array_v<T> &&
                !requires(const T& t) { t.data(); };

class message {
 public:
  // Empty. The first append makes it a message with id 0.
  message() = default;
  // A message with `id` (msgh_id), by which the receiver distinguishes messages. Appends
  // each of `parts`.
  template <class... Parts>
  explicit message(mach_msg_id_t id, Parts&&... parts) : message() {
    begin(id, (std::size_t{0} + ... + hint(parts)));
    (append(std::forward<Parts>(parts)), ...);
  }
  message(message&& other) noexcept;
  message& operator=(message&& other) noexcept;
  ~message() { clear(); }

  // False if the message is empty: default-constructed, moved from or sent.
  explicit operator bool() const noexcept { return buffer_.data() != nullptr; }

  mach_msg_id_t id() const noexcept;
  std::span<const std::byte> bytes() const noexcept;
  std::size_t rights() const noexcept { return rights_; }

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  template <plain T>
  void append(const T& value) {
    append(std::as_bytes(std::span(&value, 1)));
  }

  void append(const send_right& right) { append(send_right(right)); }
  void append(send_right&& right);
  void append(send_once_right&& right);
  // The queued messages are transferred with the right. Its guard, sequence number and membership
  // of port sets are not, and a task that awaits it gets errc::closed.
  void append(receive_right&& right);

  // Sets the right by which the receiver replies, and releases the one set before.
  void reply_to(const send_right& right) { reply_to(send_right(right)); }
  void reply_to(send_right&& right);
  void reply_to(send_once_right&& right);

  // Releases every right and the memory. The message is then empty.
  void clear() noexcept;

 private:
  friend send_result transmit(message& m, mach_port_name_t to,
                              mach_msg_type_name_t disposition) noexcept;
  friend class send_operation;

  static std::size_t hint(const send_right&) noexcept { return 16; }
  static std::size_t hint(const send_once_right&) noexcept { return 16; }
  static std::size_t hint(const receive_right&) noexcept { return 16; }
  static std::size_t hint(std::string_view text) noexcept { return text.size(); }
  static std::size_t hint(std::span<const std::byte> bytes) noexcept { return bytes.size(); }
  template <plain T>
  static std::size_t hint(const T&) noexcept {
    return sizeof(T);
  }

  void begin(mach_msg_id_t id, std::size_t room);
  void reserve(std::size_t size);
  void make_room_for_right();
  void add_right(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept;
  void set_reply(mach_port_name_t name, mach_msg_type_name_t disposition) noexcept;
  mach_msg_port_descriptor_t* descriptors() const noexcept;
  // Where the bytes begin, behind the header and the descriptors.
  std::size_t offset() const noexcept;

  message_buffer buffer_;
  std::size_t size_ = 0;  // header, descriptors and bytes; not rounded up
  std::size_t rights_ = 0;
};

}  // namespace kedge::mach
