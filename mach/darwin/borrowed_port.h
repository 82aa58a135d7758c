// borrowed_port: a receive right that a library of the system owns, from which a task receives.
//
// A receive_right would guard it, and the library's own release would end the process.
//
// Ownership: the library keeps the right. The owner of a borrowed_port destroys it before the
// library releases the right: a task that awaits it gets errc::closed.
// Threads: as receive_right.
#pragma once

#include <mach/mach.h>

#include <utility>

#include "kedge/mach/port_source.h"
#include "kedge/mach/receive.h"

namespace kedge::mach::darwin {

class borrowed_port {
 public:
  // Throws std::bad_alloc.
  explicit borrowed_port(mach_port_t name) : source_(new port_source(name)) {}
  borrowed_port(const borrowed_port&) = delete;
  borrowed_port& operator=(const borrowed_port&) = delete;
  ~borrowed_port() {
    source_->close();
    source_->release();
  }

  // As receive_right::receive().
  receive_awaitable receive() const noexcept { return receive_awaitable(source_); }

 private:
  port_source* const source_;
};

}  // namespace kedge::mach::darwin
