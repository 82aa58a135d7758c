// descriptor: one descriptor of a message: a right, an array of rights, or out-of-line memory.
// descriptor_list: all descriptors of a message, in the order in which they were appended.
//
//     for (auto& d : request.descriptors()) watchers.push_back(d.take_send());
//
// A descriptor is a view: it is valid as long as the message that it belongs to, and not after the
// message was moved, sent, cleared or appended to. Each take_* transfers what the descriptor holds
// to the caller, once. It gives an empty object if the descriptor holds something else, or if its
// contents were taken before.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

#include "kedge/mach/any_right.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class descriptor {
 public:
  enum class kind : std::uint8_t { right, rights, memory };

  // Not a descriptor: every take_* gives an empty object.
  descriptor() = default;

  kind what() const noexcept;
  // The kernel's name of the descriptor: MACH_MSG_PORT_DESCRIPTOR, also if there is none,
  // MACH_MSG_GUARDED_PORT_DESCRIPTOR, MACH_MSG_OOL_DESCRIPTOR ...
  mach_msg_descriptor_type_t type() const noexcept;
  // Of a right or of the rights of an array, as the receiver sees it: MACH_MSG_TYPE_MOVE_SEND,
  // MOVE_SEND_ONCE or MOVE_RECEIVE. MACH_MSG_TYPE_PORT_NONE for memory.
  mach_msg_type_name_t disposition() const noexcept;
  // The number of rights, or of bytes of memory. 0 once an array or memory was taken; 1 for a
  // single right, taken or not.
  std::size_t size() const noexcept;

  // Throws std::bad_alloc; the right then stays in the message.
  send_right take_send(const place& where = place::current());
  send_once_right take_send_once(const place& where = place::current()) noexcept;
  // Guards the right with a guard of its own. Throws std::system_error with errc::revocable for a
  // right that its sender can take back, which a hostile sender can cause; other errors of
  // receive_right::adopt(); and std::bad_alloc. The right then stays in the message.
  receive_right take_receive(const place& where = place::current());

  // The same, also for such a right: see receive_right::adopt().
  receive_right take_revocable(const place& where = place::current());

  // Takes a single right of whatever kind, or none: what the kind's own function takes, and throws
  // what that throws. The right then stays in the message.
  any_right take_any(const place& where = place::current());

  memory_region take_memory() noexcept;

  // Take an array as a whole. A right whose port has died is an empty element. Throw what taking a
  // single right throws. The rights behind the one that was refused stay in the message then, and
  // those ahead of it are released.
  std::vector<send_right> take_send_array(const place& where = place::current());
  std::vector<send_once_right> take_send_once_array(const place& where = place::current());
  std::vector<receive_right> take_receive_array(const place& where = place::current());

 private:
  friend class descriptor_list;

  explicit descriptor(std::byte* at) noexcept : at_(at) {}
  std::size_t length() const noexcept;
  receive_right take_receive(bool revocable, const place& where);
  template <class Right>
  Right take_port(mach_msg_type_name_t disposition, const place& where);
  template <class Right>
  std::vector<Right> take_array(mach_msg_type_name_t disposition, const place& where);
  // Releases what the descriptor holds, whatever it is, and leaves it without contents. `space` is
  // the incarnation of the space of the rights. If it is not current, only memory can be released.
  void release(std::uint32_t space) noexcept;
  // See descriptor_list::count_rights(). Returns false if there was no memory, or is none.
  bool count_rights(std::uint32_t space, bool has_memory) noexcept;

  std::byte* at_ = nullptr;
};

class descriptor_list {
 public:
  class iterator {
   public:
    using value_type = descriptor;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    descriptor& operator*() noexcept { return current_; }
    descriptor* operator->() noexcept { return &current_; }
    iterator& operator++() noexcept {
      current_ = descriptor(current_.at_ + current_.length());
      --left_;
      return *this;
    }
    void operator++(int) noexcept { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return left_ == 0; }

   private:
    friend class descriptor_list;
    iterator(std::byte* first, std::size_t count) noexcept : current_(first), left_(count) {}
    descriptor current_;
    std::size_t left_ = 0;
  };

  // Empty.
  descriptor_list() = default;
  // `first` is followed by `bytes` bytes. Counts at most `claimed` descriptors, and none that would
  // reach beyond `bytes`.
  descriptor_list(std::byte* first, std::size_t bytes, std::size_t claimed) noexcept;
  // Of descriptors that were counted before: `stride` is the size of each of them, or 0 if they
  // have different sizes.
  descriptor_list(std::byte* first, std::size_t count, std::size_t bytes,
                  std::size_t stride) noexcept
      : first_(first), count_(count), bytes_(bytes), stride_(stride) {}

  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  // How many bytes of the message they take.
  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t stride() const noexcept { return stride_; }

  // The descriptor `i`, or one without contents if there is none. Takes constant time if all
  // descriptors have one size, as port descriptors have, else time proportional to `i`.
  descriptor operator[](std::size_t i) const noexcept;

  iterator begin() const noexcept { return {first_, count_}; }
  std::default_sentinel_t end() const noexcept { return {}; }

  // Releases what all descriptors hold. `space` is the incarnation of the space of the rights. If
  // it is not current, only memory can be released.
  void release(std::uint32_t space) noexcept;

  // Counts the send rights of a received message (reference_counts.h), so that the references that
  // have arrived in excess are released at once. Those for which there is no memory keep the
  // reference of the kernel's that they arrived with.
  void count_rights(std::uint32_t space) noexcept;

 private:
  std::byte* first_ = nullptr;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  std::size_t stride_ = 0;
};

}  // namespace kedge::mach
