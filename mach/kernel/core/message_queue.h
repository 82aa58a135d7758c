// message_queue: the queue of one port, as an interface, so that other storage (a ring in shared
// memory) can replace the list.
//
// Locks: each call requires the port lock. The port looks after limits, blocked senders, sequence
// numbers and death; the queue does not.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/kmsg.h"

namespace kedge::mach::kernel {

class message_queue {
 public:
  // Reserves room for the message. Returns false if the storage is full. Reserved room counts.
  virtual bool reserve(const kmsg& message) noexcept = 0;
  // Appends the message, for which room was reserved. The queue owns it after this call.
  virtual void commit(kmsg* message) noexcept = 0;
  // Gives reserved room back. The message stays the caller's.
  virtual void abort(const kmsg& message) noexcept = 0;
  // The oldest message, or null. It stays in the queue.
  virtual kmsg* peek() noexcept = 0;
  // The message behind so many others, or null. It stays in the queue.
  virtual kmsg* peek_beyond(std::uint32_t others) noexcept = 0;
  // Removes the oldest message, or returns null. The caller owns it.
  virtual kmsg* take() noexcept = 0;

  // Messages queued and reserved.
  std::uint32_t count() const noexcept { return count_; }

 protected:
  ~message_queue() = default;
  std::uint32_t count_ = 0;
};

// A list in this process's memory. A message leaves it only from the front, so a kmsg needs one
// link, where base::list has two.
class local_queue final : public message_queue {
 public:
  bool reserve(const kmsg&) noexcept override {
    ++count_;
    return true;
  }
  void commit(kmsg* message) noexcept override {
    message->next = nullptr;
    (last_ ? last_->next : first_) = message;
    last_ = message;
  }
  void abort(const kmsg&) noexcept override { --count_; }
  kmsg* peek() noexcept override { return first_; }
  kmsg* peek_beyond(std::uint32_t others) noexcept override {
    kmsg* message = first_;
    for (; message && others > 0; --others) message = message->next;
    return message;
  }
  kmsg* take() noexcept override {
    kmsg* message = first_;
    if (!message) return nullptr;
    first_ = message->next;
    if (!first_) last_ = nullptr;
    --count_;
    return message;
  }

 private:
  kmsg* first_ = nullptr;
  kmsg* last_ = nullptr;
};

}  // namespace kedge::mach::kernel
