// registration: a source's hold on one (filter, ident) of the loop's kqueue.
//
// Every event of the kernel arrives through a registration: file descriptors, signals, and in
// `mach` receive rights, port sets and notifications are thin types over it. Sources on the same
// (filter, ident) share one kernel registration. Readiness is remembered in it: an event sets it,
// clear() clears it unless the event had EV_EOF. A linked `listener` receives the events.
//
// Threads: the loop's thread only; link() asserts it in debug builds. A registration that outlives
// its loop is closed, with errc::loop_gone. So is every registration of the parent's loops in a
// forked child: the child's functions touch memory only, never the kernel.
#pragma once

#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/registration_slot.h"

namespace kedge {

class reactor;

enum class sharing : bool {
  exclusive,  // one listener at a time, of any of the sources
  shared,     // every listener receives every event
};

// Receives one registration's events. Unlinks itself when destroyed.
class listener {
 public:
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;
  bool linked() const noexcept { return slot_ != nullptr; }
  // No effect on a listener that is not linked.
  void unlink() noexcept {
    if (slot_ == nullptr) return;
    (previous_ != nullptr ? previous_->next_ : slot_->first) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
    slot_ = nullptr;
    previous_ = next_ = nullptr;
  }

  // registration::clear(). Requires that the listener is linked.
  void clear() noexcept {
    if (!slot_->ended) slot_->ready = false;
  }

 protected:
  listener() = default;
  ~listener() { unlink(); }

 private:
  friend class registration;
  friend class registration_table;
  // An event has arrived. The listener is linked, and may unlink itself.
  virtual void notify(const kevent64_s& event) noexcept = 0;
  // Returns true if nobody waits by this listener, so that another one may take its place at an
  // exclusive registration. It is unlinked then, without a call of closed().
  virtual bool is_idle() const noexcept { return false; }
  // Returns false if no event can make a task ready through this listener: no task waits by it, or
  // nothing is left that could cause an event. For the report of a deadlock, see deadlock.h.
  virtual bool can_wake() const noexcept { return !is_idle(); }
  // No event will arrive: the source was closed, the loop is gone, or the kernel refused the
  // registration. The listener has been unlinked.
  virtual void closed(std::error_code why) noexcept = 0;

  // Unlinks all listeners of the slot and calls closed(why) on each.
  static void end_all(registration_slot& slot, std::error_code why) noexcept;

  registration_slot* slot_ = nullptr;
  listener* previous_ = nullptr;
  listener* next_ = nullptr;
};

class registration {
 public:
  // Makes a closed registration.
  registration() = default;
  // Registers in the kernel with the next wait, with EV_ADD | EV_CLEAR and `fflags`, unless another
  // registration of the loop has done so. If the kernel refuses, the listeners receive its error.
  // If another registration of the other `sharing` exists, this one is made closed, with
  // errc::already_awaited. Throws std::bad_alloc.
  registration(reactor& r, sharing s, std::int16_t filter, std::uint64_t ident,
               std::uint32_t fflags = 0);
  // The same, for a source that registers when the loop may be gone. The source keeps the table
  // (reactor::registrations()) until then.
  registration(registration_table& t, sharing s, std::int16_t filter, std::uint64_t ident,
               std::uint32_t fflags = 0);
  registration(registration&& other) noexcept;
  registration& operator=(registration&& other) noexcept;
  ~registration() { close(); }

  // Returns false after close(), when the loop is gone, and in a forked child of its process.
  explicit operator bool() const noexcept;

  // Gives up this hold. The last hold removes the registration from the kernel with the next wait,
  // or withdraws it if it has not been submitted. If a listener of an exclusive registration was
  // linked by this hold, it receives closed(why). Listeners of a shared one belong to its holders:
  // each holder unlinks its own before it closes.
  void close(std::error_code why = errc::closed) noexcept;
  // The same, for an fd that the caller closes before the next wait. Closing the fd removes the
  // registration from the kernel: all holds on it end with errc::closed.
  void close_with_fd() noexcept;

  // Returns the remembered readiness.
  bool ready() const noexcept { return slot_ != nullptr && slot_->ready; }
  // Returns whether a listener that is not idle is linked, by this hold or by another.
  bool awaited() const noexcept {
    return slot_ != nullptr && slot_->first != nullptr && !slot_->first->is_idle();
  }
  // Forgets the readiness, since the source was found empty. Requires an open registration.
  void clear() noexcept {
    if (!slot_->ended) slot_->ready = false;
  }
  // The same, after a read has stopped at `bytes` bytes. No effect if the last event says that more
  // can be read: on Linux that an out-of-band mark is ahead, on Darwin by its data.
  void clear_after(std::size_t bytes) noexcept {
    const bool has_more = slot_->marked || slot_->data > static_cast<std::int64_t>(bytes);
    if (!has_more) clear();
  }

  // Returns the udata of the kernel registration, for a change that another thread makes: the
  // kernel takes the udata of each change over. Requires an open registration.
  std::uint64_t udata() const noexcept;

  // Links `l`. On an error `l` is not linked: an exclusive registration has a listener already
  // (errc::already_awaited), the registration is closed, or the kernel has refused it. Once that
  // listener has left, the next one can be linked.
  std::error_code link(listener& l) noexcept;

 private:
  void give_up(std::error_code why, bool fd_closes) noexcept;
  void take_over(registration& other) noexcept;

  registration_slot* slot_ = nullptr;
  std::error_code end_ = errc::closed;  // why slot_ is null
};

}  // namespace kedge
