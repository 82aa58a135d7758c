// A message inside the kernel: flat bytes as the sender gave them, a table of the rights that it
// carries, and one of its memory out of line. It holds neither a name nor an address of anybody:
// those in the bytes are blank until copy-out writes the receiver's.
#pragma once

#include <mach/message.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kedge/mach/kernel/core/memory_object.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/one_thread.h"

namespace kedge::mach::kernel {

class port;
class kmsg_pool;

// A right on its way: one reference to the port, and one of its send, send-once or receive rights,
// as `disposition` (MACH_MSG_TYPE_MOVE_*) says. Without a port it stands for MACH_PORT_NULL, or for
// MACH_PORT_DEAD.
struct carried_right {
  port* target = nullptr;
  std::uint8_t disposition = MACH_MSG_TYPE_PORT_NONE;
  bool dead = false;
};

class kmsg {
 public:
  static constexpr std::uint32_t few = 4;  // rights for which there is always room

  kmsg(const kmsg&) = delete;
  kmsg& operator=(const kmsg&) = delete;

  std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  mach_msg_header_t& header() noexcept { return *reinterpret_cast<mach_msg_header_t*>(bytes()); }

  // The rights of its descriptors, in order: one of each port, as many as it has of an array.
  carried_right* rights() noexcept {
    return more_rights_ ? more_rights_.get() : few_rights_.data();
  }
  // The out-of-line memory of its descriptors, in order; what is empty among it has no object.
  carried_memory* memories() noexcept { return memories_.get(); }
  // Makes room for so many of both, all of them empty. False: there is no memory for them.
  bool reserve(std::uint32_t rights, std::uint32_t memories) noexcept;

  kmsg* next = nullptr;
  carried_right destination;
  carried_right reply;
  carried_right voucher;
  mach_msg_size_t size = 0;  // of the message without trailer
  mach_msg_id_t id = 0;
  // Given when it is taken from its queue.
  mach_port_seqno_t seqno = 0;
  mach_port_context_t context = 0;  // the port's
  bool room_awaited = false;        // a send-possible request at the port was armed
  std::uint32_t right_count = 0;
  std::uint32_t memory_count = 0;
  bool complex = false;
  bool only_few_ports = false;  // its descriptors are port descriptors, at most `few`
  bool circular = false;  // carries the receive right of its own destination, directly or in a ring
  security_token_t sender{};
  audit_token_t audit{};

 private:
  friend class kmsg_pool;
  kmsg(kmsg_pool& home, std::uint8_t size_class) noexcept : home_(home), size_class_(size_class) {}
  ~kmsg() = default;

  kmsg_pool& home_;
  const std::uint8_t size_class_;
  std::array<carried_right, few> few_rights_;
  std::unique_ptr<carried_right[]> more_rights_;
  std::unique_ptr<carried_memory[]> memories_;
};

// Recycled messages in a few sizes. Any thread may take and give back.
class kmsg_pool {
 public:
  kmsg_pool() = default;
  ~kmsg_pool();
  kmsg_pool(const kmsg_pool&) = delete;
  kmsg_pool& operator=(const kmsg_pool&) = delete;

  // A message with room for `size` bytes and the largest trailer; null if there is no memory.
  kmsg* take(mach_msg_size_t size) noexcept {
    kmsg* const handy = size <= small ? shelves_[0].take_handy() : nullptr;
    return handy ? handy : find_or_make(size);
  }
  // The message must carry no right any more. It returns to the pool that it came from.
  static void give_back(kmsg* message) noexcept;
  // The same of a message that is as it was taken, but for its bytes and what they say.
  static void recycle(kmsg* message) noexcept {
    const std::uint8_t size_class = message->size_class_;
    if (size_class == classes || !message->home_.shelves_[size_class].keep_handy(message)) {
      shelve(message);
    }
  }

 private:
  static constexpr std::size_t classes = 4;
  static constexpr std::array<std::uint32_t, classes> capacities{192, 1024, 8192, 66560};
  static constexpr mach_msg_size_t small = capacities[0] - sizeof(mach_msg_max_trailer_t);
  static constexpr std::array<std::uint32_t, classes> kept_at_most{128, 64, 32, 8};

  struct shelf {
    std::atomic<kmsg*> handy{nullptr};  // one more, for who sends and receives in turn
    base::mutex lock;
    kmsg* first = nullptr;
    std::uint32_t count = 0;

    kmsg* take_handy() noexcept {
      if (!base::one_thread()) return handy.exchange(nullptr, std::memory_order_acquire);
      kmsg* const message = handy.load(std::memory_order_relaxed);
      if (message) handy.store(nullptr, std::memory_order_relaxed);
      return message;
    }
    // False: there is one already.
    bool keep_handy(kmsg* message) noexcept {
      kmsg* none = handy.load(std::memory_order_relaxed);
      if (none) return false;
      if (!base::one_thread())
        return handy.compare_exchange_strong(none, message, std::memory_order_release,
                                             std::memory_order_relaxed);
      handy.store(message, std::memory_order_relaxed);
      return true;
    }
  };
  kmsg* find_or_make(mach_msg_size_t size) noexcept;
  static void shelve(kmsg* message) noexcept;
  static void destroy(kmsg* message) noexcept;

  std::array<shelf, classes> shelves_;
};

}  // namespace kedge::mach::kernel
