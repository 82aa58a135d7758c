// The queue of one port, as an interface, so that another kind of storage (a ring in shared memory)
// can take the place of the list that serves now. The port's lock is held around every call.
// Limits, blocked senders, sequence numbers and death are the port's business, not the queue's.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/kmsg.h"

namespace kedge::mach::kernel {

class message_queue {
 public:
  // Sets room aside for the message; false if the storage has none left. Room set aside counts.
  virtual bool reserve(const kmsg& message) noexcept = 0;
  // The message, for which room was reserved, becomes the last of the queue, which owns it from
  // here on.
  virtual void commit(kmsg* message) noexcept = 0;
  // Gives reserved room back; the message stays the caller's.
  virtual void abort(const kmsg& message) noexcept = 0;
  // The oldest message, or null; it stays.
  virtual kmsg* peek() noexcept = 0;
  // The one that so many others are before, or null; it stays.
  virtual kmsg* peek_beyond(std::uint32_t others) noexcept = 0;
  // Removes the oldest message; the caller owns it.
  virtual kmsg* take() noexcept = 0;

  // Messages queued and rooms reserved.
  std::uint32_t count() const noexcept { return count_; }

 protected:
  ~message_queue() = default;
  std::uint32_t count_ = 0;
};

// A list in this process's memory.
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
