// port_source: the state that a receive right or a port set shares with the operations that wait on
// it.
//
// It holds the registration with a loop's kqueue (port_registration) and what is remembered between
// waits: the size of the last message. The first wait makes the registration; a wait
// on another loop replaces it. The state is reference-counted memory of its own, so the right can
// be moved, closed and destroyed before a wait and during it.
//
// Threads: a right may be handed from thread to thread, and may be closed on another thread than
// the one that waits. A registration is only ever touched on its loop's thread: a thread that does
// not drive the loop posts the removal there.
#pragma once

#include <mach/mach.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

#include "kedge/mach/member_tags.h"
#include "kedge/mach/receive_losses.h"
#include "kedge/mach/received.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

class port_receiver;
class port_registration;

class port_source {
 public:
  explicit port_source(mach_port_name_t name) noexcept : name_(name) {}
  port_source(const port_source&) = delete;
  port_source& operator=(const port_source&) = delete;

  // For no_senders(): whether an operation has requested MACH_NOTIFY_NO_SENDERS.
  std::atomic<bool> senders_awaited{false};

  // Sets the name of a source that was made with MACH_PORT_NULL.
  void open(mach_port_name_t name) noexcept { name_.store(name); }

  // MACH_PORT_NULL once closed.
  mach_port_name_t name() const noexcept { return name_.load(std::memory_order_relaxed); }
  // The incarnation of the space in which the name has its meaning.
  std::uint32_t space() const noexcept { return space_; }

  // Returns the name of the source of a right or a set, for a call of the kernel. `noun` is "right"
  // or "set", and `what` the function. Throws std::logic_error, which has both, if `source` is null
  // (the object is empty), or if another space than the source's is current.
  static mach_port_name_t usable_name(const port_source* source, const char* noun,
                                      const char* what);

  // Makes the caller the one that receives. Returns false if there is another one. give_up() ends
  // it.
  bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_acquire); }
  void give_up() noexcept { claimed_.store(false, std::memory_order_release); }

  // Makes `by` wait by the registration with the kqueue of `r`. Fails with errc::already_awaited if
  // another source's operation waits there, and with errc::closed after close(). Requires the
  // claim. Throws std::bad_alloc, and std::logic_error if the current space is not that of the
  // name, or not the one in which the loop was made.
  std::error_code link(port_receiver& by, reactor& r);
  // Returns the registration with the kqueue of `r`, or null. Valid until the loop runs posted
  // work, or the right is closed on its thread. Requires the claim.
  port_registration* registration_in(reactor& r) const noexcept {
    // Only the thread of its loop deletes a registration, and only a wait, which has the claim,
    // makes another one. So if registered_in_ is this loop's table, registered_ is in it or null:
    // another thread may close the source meanwhile. The registration keeps its table, so no other
    // table has that address.
    const bool is_in = registered_in_.load(std::memory_order_acquire) == r.registrations().get() &&
                       !is_inherited();
    return is_in ? registered_.load(std::memory_order_acquire) : nullptr;
  }

  // The tags of a port set's members. Throws std::bad_alloc.
  member_tags& tags() {
    if (tags_ == nullptr) tags_ = std::make_unique<member_tags>();
    return *tags_;
  }

  // For a member that leaves the set and may be in others: can_receive() looks at the rest again.
  void forget_member(mach_port_name_t member) noexcept {
    waking_member_.compare_exchange_strong(member, MACH_PORT_NULL, std::memory_order_relaxed);
  }
  // Returns false if neither the port nor a member of the set has senders or messages.
  bool can_receive() noexcept;
  // Tries once to receive, as try_receive(), and counts a loss. Requires that `into` is empty.
  mach_msg_return_t take(received& into, const wanted_message& wanted = {}) noexcept;
  // The same, inline, with what the kernel says of the queue.
  [[gnu::always_inline]] kernel::receiving take_fast(received& into,
                                                     const wanted_message& wanted) noexcept {
    const mach_port_name_t here = name();
    if (here == MACH_PORT_NULL) return {MACH_RCV_INVALID_NAME, false};
    const kernel::receiving outcome = receive_fast(here, expected_size_, into, wanted);
    if (outcome.code != MACH_MSG_SUCCESS || tags_ != nullptr) finish_take(outcome.code, into);
    return outcome;
  }
  receive_losses losses() const noexcept {
    return {unreadable_.load(std::memory_order_relaxed),
            too_large_.load(std::memory_order_relaxed)};
  }
  // Clears readiness. For callers that know that no message is queued. Requires the claim, and that
  // the caller's loop was the last to link.
  void found_empty() noexcept;

  // For a right that is released or destroyed: notifies the listener with `why`, at once on the
  // thread that drives its loop, else by a post. name() is MACH_PORT_NULL afterwards.
  void close(std::error_code why = kedge::errc::closed) noexcept;

  void retain() noexcept { holds_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (holds_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  ~port_source();
  void finish_take(mach_msg_return_t code, received& into) noexcept;
  void replace_registered(port_registration* by, const registration_table* in,
                          std::error_code why) noexcept;
  // In a forked child another thread of the parent may hold the lock for ever.
  bool is_inherited() const noexcept { return generation_ != fork_generation(); }

  std::atomic<unsigned> holds_{1};
  std::atomic<mach_port_name_t> name_;
  const std::uint32_t space_ = space_incarnation();
  const unsigned generation_ = fork_generation();
  std::atomic<bool> claimed_{false};
  std::atomic<std::uint64_t> unreadable_{0};
  std::atomic<std::uint64_t> too_large_{0};
  // The member of a set by which can_receive() last returned true: spares a look at the others.
  std::atomic<mach_port_name_t> waking_member_{MACH_PORT_NULL};
  std::unique_ptr<member_tags> tags_;  // null for a receive right
  std::size_t expected_size_ = 0;      // bytes to allocate for the next message
  // Guards the changes of registered_: while it is held, the object that registered_ names is not
  // deleted.
  mutable base::mutex lock_;
  std::atomic<port_registration*> registered_{nullptr};
  std::atomic<const registration_table*> registered_in_{nullptr};  // that of registered_
};

// A counted reference to a port_source, or none.
class port_source_hold {
 public:
  port_source_hold() = default;
  explicit port_source_hold(port_source* s) noexcept : source_(s) {
    if (source_ != nullptr) source_->retain();
  }
  port_source_hold(port_source_hold&& other) noexcept
      : source_(std::exchange(other.source_, nullptr)) {}
  port_source_hold& operator=(port_source_hold&& other) noexcept {
    std::swap(source_, other.source_);
    return *this;
  }
  ~port_source_hold() {
    if (source_ != nullptr) source_->release();
  }
  port_source* operator->() const noexcept { return source_; }
  port_source* get() const noexcept { return source_; }
  explicit operator bool() const noexcept { return source_ != nullptr; }

 private:
  port_source* source_ = nullptr;
};

}  // namespace kedge::mach
