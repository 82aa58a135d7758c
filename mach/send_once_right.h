// send_once_right: the right to send one message. If it is destroyed unused, the kernel sends
// MACH_NOTIFY_SEND_ONCE to its port.
//
// Each right has a name of its own, which becomes a dead name when the port dies; it is released as
// before. An object of another space, or of the parent before a fork, releases nothing; builds
// without NDEBUG report it.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <utility>

#include "kedge/mach/ledger.h"

namespace kedge::mach {

class send_once_right {
 public:
  // Empty.
  send_once_right() = default;
  send_once_right(send_once_right&& other) noexcept
      : name_(std::exchange(other.name_, mach_port_name_t{MACH_PORT_NULL})), space_(other.space_) {}
  send_once_right& operator=(send_once_right&& other) noexcept {
    if (this != &other) {
      reset();
      name_ = std::exchange(other.name_, mach_port_name_t{MACH_PORT_NULL});
      space_ = other.space_;
    }
    return *this;
  }
  ~send_once_right() { reset(); }

  // Takes over the right `name`. MACH_PORT_NULL and MACH_PORT_DEAD give an empty object.
  static send_once_right adopt(mach_port_name_t name,
                               const place& where = place::current()) noexcept;

  // False if the object is empty: default-constructed, moved from or released.
  explicit operator bool() const noexcept { return name_ != MACH_PORT_NULL; }
  // The name, or MACH_PORT_NULL if empty. The object keeps the right.
  mach_port_name_t name() const noexcept { return name_; }
  // The incarnation of the space in which the name has its meaning.
  std::uint32_t space() const noexcept { return space_; }

  // Transfers the right to the caller. Returns MACH_PORT_NULL if the object is empty, or if another
  // space than its own is current.
  mach_port_name_t release() && noexcept;

 private:
  friend class destination;
  // Takes over a right that is in the ledger.
  send_once_right(std::uint32_t space, mach_port_name_t name) noexcept
      : name_(name), space_(space) {}
  // Transfers the right to the caller, and leaves it in the ledger. Checks no space.
  mach_port_name_t release_entry() noexcept {
    return std::exchange(name_, mach_port_name_t{MACH_PORT_NULL});
  }
  void reset() noexcept {
    if (name_ != MACH_PORT_NULL) destroy();
  }
  void destroy() noexcept;

  mach_port_name_t name_ = MACH_PORT_NULL;
  std::uint32_t space_ = 0;
};

}  // namespace kedge::mach
