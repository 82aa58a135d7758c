// port_source: what a receive right or a port set shares with the operations that wait on it.
//
// Its hold on the loop's kqueue (EVFILT_MACHPORT, made with the first wait; made anew when another
// loop waits), and what is remembered between waits: readiness, and how large the last message was.
// In memory of its own, so that the right can be moved, closed and destroyed while it is awaited.
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

  // For no_senders(): how many send rights have been made, as far as is known here, and whether
  // their end is awaited.
  mach_port_mscount_t made_send_rights = 0;
  bool senders_awaited = false;

  // For one that was made before its name.
  void open(mach_port_name_t name) noexcept { name_ = name; }

  // MACH_PORT_NULL once closed.
  mach_port_name_t name() const noexcept { return name_; }

  // Links l, for one listener at a time. Throws std::bad_alloc.
  std::error_code link(listener& l, reactor& r);
  // Whether a message may be there: an event has told so, and no try has come back empty since.
  bool ready() const noexcept { return registration_.ready(); }

  // Whether somebody waits for a message.
  bool awaited() const noexcept { return registration_.awaited(); }

  // One try to receive; never blocks. MACH_RCV_TIMED_OUT: no message; readiness is forgotten.
  mach_msg_return_t take(received& into) noexcept;
  // Forgets readiness, where it is known that there is no further message.
  void found_empty() noexcept {
    if (registration_) registration_.clear();
  }

  // The right is given up: wakes the listener with `why`.
  void close(std::error_code why = kedge::errc::closed) noexcept;

  void retain() noexcept { ++holds_; }
  void release() noexcept {
    if (--holds_ == 0) delete this;
  }

 private:
  ~port_source() = default;

  unsigned holds_ = 1;
  mach_port_name_t name_;
  std::size_t expected_size_ = 0;  // of a block for the next message
  std::shared_ptr<registration_table> table_;
  registration registration_;
};

// One hold on a port_source; or none.
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
