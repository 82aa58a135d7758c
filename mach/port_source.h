// port_source: the state that a receive right or a port set shares with the operations that wait on
// it.
//
// It holds the registration with the loop's kqueue (EVFILT_MACHPORT) and what is remembered between
// waits: readiness, and the size of the last message. The first wait makes the registration; a wait
// on another loop replaces it. The state is reference-counted memory of its own, so the right can
// be moved, closed and destroyed during a wait.
//
// Threads: one at a time, the thread of the loop that waits.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <memory>
#include <system_error>
#include <utility>

#include "kedge/mach/received.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"

namespace kedge::mach {

class port_source {
 public:
  explicit port_source(mach_port_name_t name) noexcept : name_(name) {}
  port_source(const port_source&) = delete;
  port_source& operator=(const port_source&) = delete;

  // For no_senders(): how many send rights receive_right::make_send() has made, and whether an
  // operation has requested MACH_NOTIFY_NO_SENDERS.
  mach_port_mscount_t made_send_rights = 0;
  bool senders_awaited = false;

  // Sets the name of a source that was made with MACH_PORT_NULL.
  void open(mach_port_name_t name) noexcept { name_ = name; }

  // MACH_PORT_NULL once closed.
  mach_port_name_t name() const noexcept { return name_; }

  // Links `l` to the registration with the kqueue of `r`. Fails with errc::already_awaited if
  // another listener is linked, and with errc::closed after close(). Throws std::bad_alloc, and
  // std::logic_error if the current space is not the one in which the loop was made.
  std::error_code link(listener& l, reactor& r);
  // Returns true if a message may be queued: an event has reported one, and no take() since has
  // found the queue empty.
  bool ready() const noexcept { return registration_.ready(); }

  // Returns true if an operation waits for a message.
  bool awaited() const noexcept { return registration_.awaited(); }

  // Tries once to receive, as try_receive(). MACH_RCV_TIMED_OUT also clears readiness.
  mach_msg_return_t take(received& into) noexcept;
  // Clears readiness. For callers that know that no message is queued.
  void found_empty() noexcept {
    if (registration_) registration_.clear();
  }

  // For a right that is released or destroyed: notifies the listener with `why`. name() is
  // MACH_PORT_NULL afterwards.
  void close(std::error_code why = kedge::errc::closed) noexcept;

  void retain() noexcept { ++holds_; }
  void release() noexcept {
    if (--holds_ == 0) delete this;
  }

 private:
  ~port_source() = default;

  unsigned holds_ = 1;
  mach_port_name_t name_;
  std::size_t expected_size_ = 0;  // bytes to allocate for the next message
  std::shared_ptr<registration_table> table_;
  registration registration_;
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
