// message: one that is to be sent. Owns every right in it until it has been sent.
//
//     mach::message m(count_words, header, text, std::move(answers));
//     m.append(watcher);                            // a send right: copied, one more reference
//     co_await mach::send(worker, std::move(m));
//
// The receiver finds the rights in the order in which they were appended, and the bytes likewise;
// how the two are mixed does not matter. Mach counts bytes in fours: up to three zeros follow the
// last one. Rights are *moved* into messages, and only those that the message owns: so the kernel
// has no reason to refuse one halfway (mach_msg's MACH_SEND_INVALID_RIGHT leaves open what it has
// consumed). To put in a fresh right to a port of one's own, append `right.make_send()`.
//
// A message of up to some 2 KB costs no call to malloc in the steady state. Appending throws
// std::bad_alloc, or std::system_error for a right that cannot be copied; then it is as before.
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

// A plain structure that is sent as its bytes; not what merely refers to bytes.
template <class T>
concept plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_array_v<T> &&
                !requires(const T& t) { t.data(); };

class message {
 public:
  // Empty; becomes a message with id 0 when something is appended.
  message() = default;
  // `id` is for the receiver to tell messages apart. The parts are appended.
  template <class... Parts>
  explicit message(mach_msg_id_t id, Parts&&... parts) : message() {
    begin(id, (std::size_t{0} + ... + hint(parts)));
    (append(std::forward<Parts>(parts)), ...);
  }
  message(message&& other) noexcept;
  message& operator=(message&& other) noexcept;
  ~message() { clear(); }

  // False for one that is empty: default-constructed, moved from or sent.
  explicit operator bool() const noexcept { return block_.data() != nullptr; }

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
  // The queue goes with it. Guard, sequence number and membership of sets do not, and whoever
  // awaits it gets errc::closed.
  void append(receive_right&& right);

  // What the receiver answers by; replaces the one before.
  void reply_to(const send_right& right) { reply_to(send_right(right)); }
  void reply_to(send_right&& right);
  void reply_to(send_once_right&& right);

  // Releases everything.
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
  // Where the bytes begin.
  std::size_t offset() const noexcept;

  block block_;
  std::size_t size_ = 0;  // of header, descriptors and bytes, not rounded
  std::size_t rights_ = 0;
};

}  // namespace kedge::mach
