// kmsg: a message inside the kernel (Darwin: ipc_kmsg). It has the flat bytes that the sender gave,
// a table of the rights that it carries, and a table of its out-of-line memory. Its bytes contain
// no task's names or addresses: these are blank until copy-out writes the receiver's.
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

// A right in transit: a reference to the port, and one of the port's send, send-once or receive
// rights, as `disposition` (MACH_MSG_TYPE_MOVE_*) says. Without a port it stands for
// MACH_PORT_NULL, or for MACH_PORT_DEAD if `dead`.
struct carried_right {
  port* target = nullptr;
  std::uint8_t disposition = MACH_MSG_TYPE_PORT_NONE;
  bool dead = false;
};

class kmsg {
 public:
  static constexpr std::uint32_t few = 4;  // rights for which every message has room

  kmsg(const kmsg&) = delete;
  kmsg& operator=(const kmsg&) = delete;

  std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  mach_msg_header_t& header() noexcept { return *reinterpret_cast<mach_msg_header_t*>(bytes()); }

  // The rights of the descriptors, in order: one of a port descriptor, one for each element of an
  // array of ports.
  carried_right* rights() noexcept {
    return more_rights_ ? more_rights_.get() : few_rights_.data();
  }
  // The out-of-line memory of the descriptors, in order. An element without memory has no object.
  carried_memory* memories() noexcept { return memories_.get(); }
  // Makes room for so many empty elements of both tables. Returns false if memory is short.
  bool reserve(std::uint32_t rights, std::uint32_t memories) noexcept;

  kmsg* next = nullptr;
  carried_right destination;
  carried_right reply;
  carried_right voucher;
  mach_msg_size_t size = 0;  // of the message without trailer
  mach_msg_id_t id = 0;
  // Set when the message is taken from its queue.
  mach_port_seqno_t seqno = 0;
  mach_port_context_t context = 0;  // the port's
  bool room_awaited = false;        // a send-possible request at the port was armed
  std::uint32_t right_count = 0;
  std::uint32_t memory_count = 0;
  bool complex = false;
  bool only_few_ports = false;  // all descriptors are port descriptors, at most `few`
  // Carries the receive right of its own destination, directly or in a ring.
  bool circular = false;
  security_token_t sender{};
  audit_token_t audit{};

 private:
  friend class kmsg_pool;
  kmsg(kmsg_pool& home, std::uint8_t size_class) noexcept : home_(home), size_class_(size_class) {}
  ~kmsg() = default;

  kmsg_pool& home_;
  const std::uint8_t size_class_;  // index in the pool; kmsg_pool::classes if too large for it
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

  // Returns a message with room for `size` bytes and the largest trailer, or null if memory is
  // short.
  kmsg* take(mach_msg_size_t size) noexcept {
    kmsg* const cached = size <= small ? classes_[0].take_cached() : nullptr;
    return cached ? cached : find_or_make(size);
  }
  // Returns a message, which must not carry rights any more, to the pool that it came from.
  static void give_back(kmsg* message) noexcept;
  // The same for a message that is as take() returned it, but for its bytes and what they describe.
  static void recycle(kmsg* message) noexcept {
    const std::uint8_t index = message->size_class_;
    if (index == classes || !message->home_.classes_[index].cache(message)) keep(message);
  }

 private:
  static constexpr std::size_t classes = 4;
  static constexpr std::array<std::uint32_t, classes> capacities{192, 1024, 8192, 66560};
  static constexpr mach_msg_size_t small = capacities[0] - sizeof(mach_msg_max_trailer_t);
  static constexpr std::array<std::uint32_t, classes> kept_at_most{128, 64, 32, 8};

  // The free messages of one size.
  struct size_class {
    // One message outside of the list, for threads that send and receive in turn: needs no lock.
    std::atomic<kmsg*> cached{nullptr};
    base::mutex lock;
    kmsg* first = nullptr;
    std::uint32_t count = 0;

    kmsg* take_cached() noexcept {
      if (!base::one_thread()) return cached.exchange(nullptr, std::memory_order_acquire);
      kmsg* const message = cached.load(std::memory_order_relaxed);
      if (message) cached.store(nullptr, std::memory_order_relaxed);
      return message;
    }
    // Returns false if another message is cached.
    bool cache(kmsg* message) noexcept {
      kmsg* none = cached.load(std::memory_order_relaxed);
      if (none) return false;
      if (!base::one_thread())
        return cached.compare_exchange_strong(none, message, std::memory_order_release,
                                              std::memory_order_relaxed);
      cached.store(message, std::memory_order_relaxed);
      return true;
    }
    // Takes a message from the list. Returns null if the list is empty.
    kmsg* take_listed() noexcept;
    // Puts a message into the list. Returns false if the list has `at_most` messages already.
    bool list(kmsg* message, std::uint32_t at_most) noexcept;
  };
  kmsg* find_or_make(mach_msg_size_t size) noexcept;
  static void keep(kmsg* message) noexcept;
  static void destroy(kmsg* message) noexcept;

  std::array<size_class, classes> classes_;
};

// Writes the trailer that the options of the receive ask for, and returns its size. The buffer must
// have room for the largest trailer.
inline mach_msg_size_t add_trailer(const kmsg& message, mach_msg_option_t option,
                                   std::byte* buffer) noexcept {
  mach_msg_max_trailer_t& trailer = *reinterpret_cast<mach_msg_max_trailer_t*>(buffer);
  trailer.msgh_trailer_type = MACH_MSG_TRAILER_FORMAT_0;
  trailer.msgh_trailer_size = REQUESTED_TRAILER_SIZE(option);
  if (trailer.msgh_trailer_size > MACH_MSG_TRAILER_MINIMUM_SIZE) {
    trailer.msgh_seqno = message.seqno;
    trailer.msgh_sender = message.sender;
    trailer.msgh_audit = message.audit;
    trailer.msgh_context = message.context;
    trailer.msgh_ad = MACH_MSG_FILTER_POLICY_ALLOW;
    trailer.msgh_labels = {};
  }
  return trailer.msgh_trailer_size;
}

}  // namespace kedge::mach::kernel
