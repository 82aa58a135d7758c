// registration: a source's hold on one (filter, ident) of the loop's kqueue.
//
// Everything that the kernel reports comes this way: file descriptors, signals, and in `mach`
// receive rights, port sets and notifications are thin types over it. Sources on the same
// (filter, ident) share one kernel registration. Readiness is remembered: set by an event, cleared
// by clear(), except after EV_EOF. Who wants to hear of events links a `listener`.
//
// Loop's thread only. A source that outlives its loop finds its registration closed.
#pragma once

#include <sys/event.h>

#include <cstdint>
#include <system_error>

#include "kedge/runtime/errc.h"

namespace kedge {

class reactor;
class registration_table;
struct registration_slot;

enum class sharing : bool {
  exclusive,  // one source, one listener at a time
  shared,     // every listener hears of every event
};

// Hears of one registration's events. Unlinks itself when destroyed.
class listener {
 public:
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;
  bool linked() const noexcept { return slot_ != nullptr; }
  void unlink() noexcept;

  // The registration's clear(), for one that is linked.
  void clear() noexcept;

 protected:
  listener() = default;
  ~listener() { unlink(); }

 private:
  friend class registration;
  friend class registration_table;
  // An event: the listener is linked still, and may unlink itself.
  virtual void notify(const kevent64_s& event) noexcept = 0;
  // There will be none: the source was closed, the loop is gone, or the kernel refused the
  // registration. The listener is unlinked already.
  virtual void closed(std::error_code why) noexcept = 0;

  static void end_all(registration_slot& slot, std::error_code why) noexcept;

  registration_slot* slot_ = nullptr;
  listener* previous_ = nullptr;
  listener* next_ = nullptr;
};

class registration {
 public:
  registration() = default;
  // Registers with the next wait, with EV_ADD | EV_CLEAR and `fflags`. Throws std::bad_alloc. What
  // the kernel says against it reaches the listeners. An exclusive (filter, ident) has one hold: a
  // second registration is born closed, with errc::already_awaited.
  registration(reactor& r, sharing s, std::int16_t filter, std::uint64_t ident,
               std::uint32_t fflags = 0);
  // The same, for a source that makes it late, when the loop may be gone: it keeps the table
  // (reactor::registrations()) meanwhile.
  registration(registration_table& t, sharing s, std::int16_t filter, std::uint64_t ident,
               std::uint32_t fflags = 0);
  registration(registration&& other) noexcept;
  registration& operator=(registration&& other) noexcept;
  ~registration() { close(); }

  // False after close(), or when the loop is gone.
  explicit operator bool() const noexcept;

  // Gives up this hold; the last one removes the registration from the kernel with the next wait,
  // or withdraws it if it was not submitted yet. The listener of an exclusive one is told `why`;
  // listeners of a shared one belong to its holders, who unlink their own first.
  void close(std::error_code why = errc::closed) noexcept;
  // The same, of a descriptor whose number the caller closes before the next wait: that removes it
  // from the kernel.
  void close_with_number() noexcept;

  bool ready() const noexcept;
  // Whether a listener is linked.
  bool awaited() const noexcept;
  // The source was found empty: wait for the next event.
  void clear() noexcept;
  // The last event.
  const kevent64_s& event() const noexcept;

  // Links `l`. On an error it is not linked: there is a listener on an exclusive registration
  // already, the registration is closed, or the kernel has refused it.
  std::error_code link(listener& l) noexcept;

 private:
  void give_up(std::error_code why, bool number_closes) noexcept;

  registration_slot* slot_ = nullptr;
  std::error_code end_ = errc::closed;  // why there is no slot
};

}  // namespace kedge
